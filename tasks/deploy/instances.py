"""A stage's other containers on this host, as the steps of a deployment deal with them."""

from collections.abc import Iterable, Sequence

import structlog

from tasks.create import instances_of
from tasks.deploy.machine import MOST_ATTEMPTS, check_bounds
from tasks.stop import halt
from worker.engine import Listed, engine
from worker.errors import DeploymentError
from worker.record import Claim

log = structlog.get_logger()


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
