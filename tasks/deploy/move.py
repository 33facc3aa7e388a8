"""A stage that goes to another host: once the new instance there has taken over, the older ones here go."""

import structlog
from redis.exceptions import RedisError

from tasks.deploy import outcome
from tasks.deploy.instances import older_instances, retire_all
from tasks.deploy.machine import Done, Wait, step
from worker import listing
from worker.errors import DeploymentError
from worker.heartbeat import heartbeat
from worker.record import Claim, Step
from worker.results import Instance
from worker.settings import settings
from worker.store import deployments, hosts

log = structlog.get_logger()


def hosts_with(claim: Claim) -> list[str]:
    """The other hosts that have instances of a deployment's stage, as far as these have told, or its record knows."""
    where = claim.asked.where
    known = {*hosts().of_stage(where), deployments().home(where) or settings().host}
    return sorted(known - {settings().host})


def instance_elsewhere(claim: Claim) -> Instance | None:
    """What is live in the stage, on another host: what requests are led back to."""
    live = deployments().live_instance(claim.asked.where)
    return outcome.of_deployment(Instance, live.deployment_id, live.spec, live.found, live.host) if live else None


@step(Step.VACATE)
def vacate(claim: Claim) -> Done | Wait:
    """Stop and remove what the stage had on this host: another one's serves, so this can't fail the deployment.

    While that one is away it may not, and what is here may be all that does. Reconciling sees to it that this goes when
    that one is back, should it be so late that nobody is to wait any longer.
    """
    if not hosts().is_there(claim.host):
        if claim.time_left > 0:
            return Wait(min(settings().heartbeat_seconds, claim.time_left))
        return Done(claim.found.updated(moves_from=[]))
    gone, stayed = retire_all(claim, older_instances(claim))
    tell_others(claim)
    remaining = [each for each in claim.found.moves_from if each != settings().host]
    found = claim.found.updated(
        replaced=[*claim.found.replaced, *gone],
        unretired=[*claim.found.unretired, *stayed],
        moves_from=remaining,
    )
    return Done(found, to=Step.VACATE if remaining else None)


def tell_others(claim: Claim) -> None:
    """Have other hosts know what this one has of a stage before anybody hears that a deployment has ended."""
    if not heartbeat().has_neighbours:
        return
    try:
        listing.tell(claim.asked.where)
    except (DeploymentError, RedisError) as error:
        # They hear of it a moment later.
        log.warning("containers_not_told", stage=claim.asked.where, error=str(error))
