"""A stage's containers on this host, as the steps of a deployment deal with them: its own, and the older ones."""

from collections.abc import Iterable, Sequence

import structlog

from tasks.create import instances_of
from tasks.deploy.machine import MOST_ATTEMPTS, check_bounds
from tasks.stop import halt
from worker.engine import ContainerRef, Listed, engine
from worker.errors import DeploymentError
from worker.record import Claim

log = structlog.get_logger()


def known(value: str | None) -> str:
    """What an earlier step has found out."""
    if value is None:
        raise AssertionError("an earlier step found this out")
    return value


def container_of(claim: Claim) -> ContainerRef:
    """The one that the deployment has made, as its record knows it."""
    return ContainerRef(known(claim.found.container_id), known(claim.found.container_name))


def own_containers(claim: Claim) -> list[Listed]:
    """All that it has made, as their labels tell: also one that no record knows."""
    containers, asked = engine().containers, claim.asked
    return containers.labelled(containers.labels.select(deployment=claim.id, project=asked.project, stage=asked.stage))


def older_instances(claim: Claim) -> list[Listed]:
    """Those that other deployments have made, newest first."""
    return older_than(claim, instances_of(claim.spec))


def older_than(claim: Claim, instances: Sequence[Listed]) -> list[Listed]:
    """The same of those that are known already."""
    return [each for each in instances if engine().containers.labels.deployment_of(each) != claim.id]


def retire_all(claim: Claim, going: Iterable[Listed]) -> tuple[list[str], list[str]]:
    """Stop and remove containers; the ids of those that are gone, and of those that the engine has still at the end.

    Another version serves by then, so this can't fail the deployment.
    """
    gone, stayed = [], []
    for each in going:
        check_bounds(claim)
        try:
            halt(each)
            engine().containers.remove(each, force=True)
            gone.append(each.id)
        except DeploymentError as error:
            if claim.attempt < MOST_ATTEMPTS:
                raise
            stayed.append(each.id)
            log.warning("container_not_retired", container=each.name, error=error.message)
    return gone, stayed
