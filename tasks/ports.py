"""Host ports that have changed since they were reported: a restart by anybody gives a container others (R13)."""

from collections.abc import Iterator, Sequence

import structlog

from tasks.cutover import cut_over, instance_of
from worker.engine import Container, Listed, engine
from worker.errors import ContainerNotFound, CutoverFailed
from worker.labels import Label
from worker.store import deployments

log = structlog.get_logger()


def follow_changed_ports(containers: Sequence[Listed]) -> list[str]:
    """Follow the host ports of those that run on others than their record has; returns these containers' names."""
    moved = []
    for each in _changed(containers):
        try:
            # As it is by now: the hook of the one before may have taken its time.
            if follow(engine().containers.inspect(each.id)):
                moved.append(each.name)
        except ContainerNotFound:
            continue
    return moved


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


def _changed(containers: Sequence[Listed]) -> Iterator[Listed]:
    deployment_of = engine().containers.labels.deployment_of
    standings = deployments().standings(sorted({deployment_of(each) for each in containers}))
    for each in containers:
        standing = standings.get(deployment_of(each))
        is_settled = standing and standing.outcome in {"live", "adopted"} and standing.container_id == each.id
        if standing and is_settled and each.state == "running" and standing.ports != each.ports:
            yield each
