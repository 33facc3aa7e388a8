"""Host ports that have changed since they were reported: a restart by anybody gives a container others (R13)."""

from collections.abc import Mapping, Sequence

import structlog

from tasks.cutover import cut_over, instance_of
from worker.engine import Container, Listed, engine
from worker.errors import CutoverFailed
from worker.labels import Label
from worker.store import Standing, deployments

log = structlog.get_logger()


def changed(containers: Sequence[Listed], standings: Mapping[str, Standing]) -> list[Listed]:
    """Those that run, each as its deployment has left it, on other host ports than its record has."""
    deployment_of = engine().containers.labels.deployment_of
    return [
        each
        for each in containers
        if each.state == "running"
        and (standing := standings.get(deployment_of(each)))
        and standing.outcome in {"live", "adopted"}
        and standing.container_id == each.id
        and standing.ports != each.ports
    ]


def follow(container: Container, holder: str | None = None) -> bool:
    """Note the host ports that a container has by now, and lead its stage's requests there if it is what is live.

    False where these are known, where somebody else than `holder` has the stage and will lead its requests elsewhere,
    or where the hook doesn't agree: reconciling tries again.
    """
    labels = engine().containers.labels
    where = f"{labels.get(container.labels, Label.PROJECT)}/{labels.get(container.labels, Label.STAGE)}"
    deployment_id = labels.deployment_of(container)
    if deployments().holder(where) not in {None, holder}:
        return False
    live = deployments().live(where)
    if live and live.deployment_id == deployment_id and live.spec.cutover:
        try:
            cut_over(live.spec.cutover, instance_of(container), "ports-changed")
        except CutoverFailed as error:
            log.warning("ports_not_followed", container=container.name, error=error.message)
            return False
    return deployments().note_ports(deployment_id, container.ports)
