"""How a new version takes the place of the older ones: their room, aliases, name and requests, and then they go."""

import structlog

from tasks.connect import attach, detach
from tasks.create import wanted_name
from tasks.cutover import cut_over
from tasks.deploy import outcome
from tasks.deploy.candidate import is_forgiven, started_again
from tasks.deploy.instances import container_of, older_instances, retire_all
from tasks.deploy.machine import MOST_ATTEMPTS, Done, check_bounds, step
from tasks.evidence import not_proven
from tasks.stop import halt
from worker import plan
from worker.engine import Container, engine
from worker.errors import DeploymentError
from worker.policy import policy
from worker.record import Claim, Step
from worker.settings import settings

log = structlog.get_logger()


@step(Step.DISPLACE)
def displace(claim: Claim) -> Done:
    """Stop the older instances that the new one can't run beside."""
    for each in older_instances(claim):
        if each.id in claim.found.displaced:
            check_bounds(claim)
            halt(each)
    return Done(claim.found)


@step(Step.ALIAS)
def alias(claim: Claim) -> Done:
    """Give the proven container the aliases that an older instance holds: the engine's DNS hands out both by then."""
    container = _still_proven(claim)
    if container is None:
        return started_again(claim)
    for network in filter(None, (settings().network, claim.spec.network)):
        check_bounds(claim)
        container = attach(network, container, claim.spec.aliases)
    return Done(claim.found.updated(ports=dict(container.ports)))


@step(Step.CUTOVER)
def cutover(claim: Claim) -> Done:
    """Have whoever is asked to repoint what leads to the stage, before anything old is touched."""
    if claim.spec.cutover:
        policy().check_hook(claim.spec.where, claim.spec.cutover.url)
        # It has that name once it is promoted.
        instance = outcome.of_claim(claim).model_copy(update={"container_name": wanted_name(claim.spec)})
        cut_over(claim.spec.cutover, instance, "deployed", claim.interrupt)
    return Done(claim.found)


@step(Step.PROMOTE)
def promote(claim: Claim) -> Done:
    """Give the proven container what it lacked as a candidate, and say which older ones go."""
    spec, containers, wanted = claim.spec, engine().containers, wanted_name(claim.spec)
    older = older_instances(claim)
    # Before it is looked at: an engine that restarts brings it back from now on, and left it where it was until now.
    containers.set_restart_policy(container_of(claim), spec.restart)
    container = _still_proven(claim)
    if container is None:
        return started_again(claim)
    if unnamable := [each.id for each in older if each.name == wanted and each.state == "restarting"]:
        # The engine can't rename one that waits for its next start. It serves nobody, so it is stopped.
        return Done(claim.found.updated(displaced=[*claim.found.displaced, *unnamable]), to=Step.DISPLACE)
    # Who hung on the engine until others were done with it would give them the names of long ago.
    check_bounds(claim)
    for each in older:
        if each.id in claim.found.displaced:
            # An engine that restarts would bring it back beside the new one, and may have.
            containers.set_restart_policy(each, "no")
            halt(each)
    if container.name != wanted:
        for each in older:
            if each.name == wanted:
                containers.rename(each, plan.temporary_name(wanted, containers.labels.deployment_of(each)))
        containers.rename(container, wanted)
    found = claim.found.updated(
        container_name=wanted,
        ports=dict(container.ports),
        replaced=[each.id for each in plan.surplus(older, spec.keep)],
    )
    # What the hook has led elsewhere may be in the middle of its requests.
    has_to_end = spec.cutover and found.replaces_what_serves
    return Done(found, pause=settings().drain_seconds if has_to_end else 0)


@step(Step.DRAIN)
def drain(claim: Claim) -> Done:
    """Take the aliases from the older instances that go, and let them end what they are at."""
    for each in older_instances(claim):
        if each.id in claim.found.replaced:
            check_bounds(claim)
            try:
                detach(engine().containers.inspect(each.id), claim.found.withheld_aliases)
            except DeploymentError as error:
                if error.retryable and claim.attempt < MOST_ATTEMPTS:
                    raise
                log.warning("aliases_not_taken", container=each.name, error=error.message)
    return Done(claim.found, pause=settings().drain_seconds)


@step(Step.RETIRE)
def retire(claim: Claim) -> Done:
    """Stop and remove the older instances that go; the new one serves, so this can't fail the deployment."""
    _, stayed = retire_all(claim, (each for each in older_instances(claim) if each.id in claim.found.replaced))
    gone = [each for each in claim.found.replaced if each not in stayed]
    return Done(claim.found.updated(replaced=gone, unretired=sorted(stayed)))


def _still_proven(claim: Claim) -> Container | None:
    """The proven container, or None where it was killed from outside and gets another start.

    Raises StartFailed or Unhealthy where it isn't what it was: the older ones go on serving.
    """
    container = engine().containers.inspect(container_of(claim).id)
    if is_forgiven(claim, container):
        return None
    # Where it was killed before, it has its restart policy by now, and may run again only by that.
    has_ended = container.state != "running" or container.restart_count
    if has_ended or container.health == "unhealthy":
        verdict = "failed" if has_ended else "unhealthy"
        raise not_proven(claim.spec, container, verdict, 0)
    return container
