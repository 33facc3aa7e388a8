"""What becomes of deployments of a host that is away.

They wait for it: what they have made and stopped is there. But nobody's request waits for ever, and no stage is held
for ever: once such a deployment's time is over, or it is cancelled, another host's worker ends it. What it has left is
removed, and what it had stopped runs again, when the host is back and reconciles.
"""

import structlog

from worker.driver import send
from worker.errors import DeadlineExceeded, DeploymentCancelled, DeploymentError, EngineUnavailable
from worker.record import ON_FAILURE, Claim, Found, Step
from worker.settings import settings
from worker.store import deployments, hosts

log = structlog.get_logger()

ABANDONED = "abandoned_on"
"""The fact in an error that names the host which may have something of the deployment."""

_MAY_HAVE_CUT_OVER = {Step.CUTOVER, Step.PROMOTE, Step.REVERT, Step.UNDO}


def look_after_those_away() -> None:
    """End what needs no more waiting for hosts that are away, and what nobody is to wait for any longer.

    Raises RedisError.
    """
    for host in hosts().away():
        if host != settings().host and hosts().may_rescue(host):
            for claim in deployments().stranded(host):
                if _is_over(claim) and _end(claim, host, settings().host):
                    log.warning("deployment_abandoned", deployment=claim.id, step=claim.step, host=host)


def give_up(host: str, to: str) -> list[str]:
    """Have another host end all that one which is gone for good was at or had to do, and return the ids.

    Its stages are live nowhere from then on.

    Raises RedisError.
    """
    ended = [each.id for each in deployments().stranded(host) if _end(each, host, to)]
    deployments().disown(host)
    return ended


def _is_over(claim: Claim) -> bool:
    # A report can be made by anybody, and the rest of a move can be left to reconciling.
    return claim.step in {Step.REPORT, Step.VACATE} or claim.broken_off is not None or claim.now >= claim.deadline


def _end(claim: Claim, host: str, to: str) -> bool:
    if claim.step in _MAY_HAVE_CUT_OVER:
        # First: who ends in between would leave the hook where it is.
        _lead_back(claim)
    due = deployments().abandon(claim, host, to, _left(claim, host), claim.error or _error(claim, host))
    if due is None:
        return False
    send(due)
    return True


def _lead_back(claim: Claim) -> None:
    # The hook may lead to what is no more. Reconciling tells it where the version is that is live.
    live = deployments().live(claim.asked.where)
    if live:
        deployments().note_ports(live.deployment_id, {})


def _left(claim: Claim, host: str) -> Found:
    """What was found, with the older containers that nobody has retired left to reconciling."""
    if claim.step in {Step.DRAIN, Step.RETIRE}:
        return claim.found.updated(replaced=[], unretired=claim.found.replaced)
    return claim.found.updated(moves_from=[each for each in claim.found.moves_from if each != host])


def _error(claim: Claim, host: str) -> DeploymentError | None:
    """None where the new version is live."""
    if claim.step not in ON_FAILURE:
        return None
    facts = {"step": claim.step, ABANDONED: host, **claim.asked.facts}
    left = f"what it may have made on host {host}, which is away, is removed when that is back"
    if claim.broken_off is not None:
        return DeploymentCancelled(f"{claim.asked.about} was cancelled in step {claim.step}: {left}.", facts)
    if claim.now < claim.deadline:
        return EngineUnavailable(
            f"{claim.asked.about} failed in step {claim.step}: host {host} is given up; deploy to another host.", facts
        )
    return DeadlineExceeded(
        f"{claim.asked.about} failed: its deadline passed in step {claim.step}; {left}: start that host's workers, or "
        "deploy to another host.",
        facts,
    )
