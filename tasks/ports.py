"""Host ports that have changed since they were reported: a restart by anybody gives a container others (R13)."""

from collections.abc import Sequence
from contextlib import suppress

import structlog

from tasks.cutover import cut_over, instance_of
from tasks.standings import standings_of
from worker.engine import Container, Listed, engine
from worker.errors import ContainerNotFound, CutoverFailed
from worker.store import Standing, deployments

log = structlog.get_logger()


def follow_changed_ports(containers: Sequence[Listed]) -> list[str]:
    """Follow the host ports of those that run on others than their record has; returns these containers' names."""
    deployment_of = engine().containers.labels.deployment_of
    standings, moved = standings_of(containers), []
    for each in containers:
        if _has_moved(each, standings.get(deployment_of(each))):
            with suppress(ContainerNotFound):
                # As it is by now: the hook of the one before may have taken its time.
                if follow(engine().containers.inspect(each.id)):
                    moved.append(each.name)
    return moved


def follow(container: Container, holder: str | None = None) -> bool:
    """Note the host ports that a container has by now, and lead its stage's requests there if it is what is live.

    False where these are known, where somebody else than `holder` has the stage and will lead its requests elsewhere,
    or where the hook doesn't agree: reconciling tries again.
    """
    labels = engine().containers.labels
    where, deployment_id = labels.stage_of(container), labels.deployment_of(container)
    is_known = not _has_moved(container, deployments().standings([deployment_id]).get(deployment_id))
    if is_known or deployments().holder(where) not in {None, holder}:
        return False
    live = deployments().live(where)
    if live and live.deployment_id == deployment_id and live.spec.cutover:
        try:
            cut_over(live.spec.cutover, instance_of(container), "ports-changed")
        except CutoverFailed as error:
            log.warning("ports_not_followed", container=container.name, error=error.message)
            return False
    return deployments().note_ports(deployment_id, container.ports)


def _has_moved(container: Container | Listed, standing: Standing | None) -> bool:
    """Whether a container that its deployment has left running is on other ports than that had found."""
    return (
        standing is not None
        and standing.went_live
        and standing.container_id == container.id
        and container.state == "running"
        and standing.ports != container.ports
    )
