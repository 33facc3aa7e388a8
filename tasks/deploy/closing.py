"""How a deployment ends: its result is stored, and its stage handed on."""

import structlog

from tasks.cutover import say_retired
from tasks.deploy import outcome
from tasks.deploy.machine import check_bounds, step
from tasks.deploy.move import tell_others
from worker import metrics, tracing
from worker.driver import send
from worker.errors import CutoverFailed
from worker.record import Claim, Step
from worker.store import deployments
from worker.store.reading import ending, success

log = structlog.get_logger()


@step(Step.EXPIRE)
def expire(claim: Claim) -> None:
    """Never got its stage: the bounds that are checked before each step have the error."""
    check_bounds(claim)


@step(Step.REPORT)
def report(claim: Claim) -> None:
    """Store the result, and give the stage to the deployment that waits for it."""
    tell_others(claim)
    outcome.store(claim)
    closed = deployments().close(claim)
    log.info("deployment_ended", error=claim.error and repr(claim.error), seconds=claim.found.seconds)
    if closed.is_first:
        result = ending(claim.error, success(claim.asked, claim.found))
        metrics.deployment_ended(claim, result)
        tracing.step_ended(claim, "done")
        tracing.deployment_ended(claim, result)
    if closed.due:
        send(closed.due)
    if claim.found.replaced and not claim.error and claim.spec.cutover:
        try:
            say_retired(claim.spec.cutover, outcome.of_claim(claim))
        except CutoverFailed as error:
            log.warning("retirement_not_told", error=error.message)
