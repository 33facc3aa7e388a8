"""How each step runs: claim it, do it, commit, go on with the next or send it.

A message carries only a deployment's id, so any copy of it does the work that is due, or finds nothing to do. Who has
committed a step goes straight on with the next one where that is for the lane it is in: to send it would cost more than
most steps take, and a worker that dies in between loses no more than one whose message is lost.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from celery import current_task

from tasks.base import Operation, pause
from tasks.deploy import outcome
from worker import metrics, monitors, tracing
from worker.celery import Lane, app
from worker.driver import driver, lane_of, send
from worker.errors import DeadlineExceeded, DeploymentCancelled, DeploymentError, EngineUnavailable
from worker.interrupt import Interrupted
from worker.record import OF_STAGE, ON_FAILURE, Break, Claim, Found, Step, after_failure, following, place_of
from worker.settings import settings
from worker.spec import Arguments, DeploymentId, parse
from worker.store import Committed, Due, deployments

log = structlog.get_logger()

MOST_ATTEMPTS = 5
# A proven candidate is brought to its end, however late; and so is what a stage waited for.
_HAVE_DEADLINE = ON_FAILURE.keys() - {Step.PROMOTE} - OF_STAGE
# What takes long and costs little to begin again is left to another worker by one that ends.
_HANDED_ON = {Step.PULL}


@dataclass(frozen=True)
class Done:
    """The step is done; what it found out, and the next step where that isn't the usual one.

    That can be the same step once more: what is done until then is not done again.
    """

    found: Found
    to: Step | None = None
    pause: float = 0
    """Seconds until the next step is due."""


@dataclass(frozen=True)
class Wait:
    """The step isn't done yet and is to be looked at again in some seconds."""

    seconds: float


@dataclass(frozen=True)
class InLane:
    """The step takes long after all, and is to be done in a slot of this lane."""

    lane: Lane


class StepArguments(Arguments):
    deployment_id: DeploymentId


class LeaseLost(Exception):
    """Another worker may have the step: no failure, but nothing more is to be done here."""


class HandedOn(Exception):
    """This worker ends, and another one is to do the step."""


StepFunction = Callable[[Claim], Done | Wait | InLane | None]
"""None: the step has ended the deployment."""
_FUNCTIONS: dict[Step, StepFunction] = {}
_GOES_ON = "goes on"


def step(name: Step) -> Callable[[StepFunction], StepFunction]:
    """Register what a step does as its Celery task."""

    def register(function: StepFunction) -> StepFunction:
        _FUNCTIONS[name] = function

        @app.task(name=name.task, base=Operation, bind=True, ignore_result=True)
        def run(self: Operation, /, **named: object) -> dict[str, Any]:
            return perform_on(name, parse(StepArguments, name.task, named).deployment_id, str(self.request.id))

        return function

    return register


def perform_on(name: Step, deployment_id: str, task_id: str) -> dict[str, Any]:
    """Do a step if it is due, and those after it as far as they are this worker's; say what came of the first.

    Raises what `perform` raises of the first. Monitors are shown the others as tasks of their own.
    """
    began = time.monotonic()
    answer = last = perform(name, deployment_id, task_id, by_message=True)
    if answer["outcome"] == _GOES_ON:
        monitors.end_early(task_id, answer, time.monotonic() - began)
    while last["outcome"] == _GOES_ON:
        with monitors.shown(last["next"].task, deployment_id, deployment_id=deployment_id) as shown:
            last = shown.result = perform(last["next"], deployment_id, shown.id)
        if shown.result is None:
            break
    return answer


def perform(name: Step, deployment_id: str, task_id: str, *, by_message: bool = False) -> dict[str, Any]:
    """Do a step if it is due, and say in a word what came of it.

    Raises the error that ends the deployment, so that monitors show this step, as `task_id`, as the one that failed.
    """
    claim = deployments().claim(deployment_id, name)
    if claim is None:
        # A worker that died may have stored progress over the end, and what it had comes again.
        outcome.store_failure_again(deployment_id)
        return {"outcome": "nothing due"}
    outcome.show(claim, task_id)
    if by_message:
        # What Celery says of the message's end is about it too (`worker.log`).
        structlog.contextvars.bind_contextvars(project=claim.asked.project, stage=claim.asked.stage)
        metrics.step_begun(claim)
    with (
        structlog.contextvars.bound_contextvars(**_told_of(claim)),
        driver().watching(claim),
    ):
        try:
            return _done(claim, _FUNCTIONS[name])
        except DeploymentError as error:
            return _failed(claim, error)
        except LeaseLost:
            return {"outcome": "lease lost"}
        except HandedOn:
            deployments().release(claim)
            return {"outcome": "handed on"}


def is_in(lane: Lane) -> bool:
    """Whether what is done now has a slot of this lane."""
    queue = (current_task.request.delivery_info or {}).get("routing_key")
    return bool(queue == lane.queue(settings().namespace, settings().host))


def _told_of(claim: Claim) -> dict[str, object]:
    """What is on each line that is logged while the claim is held."""
    asked, traced = claim.asked, {}
    if claim.traceparent:
        traced["trace_id"] = claim.traceparent.split("-")[1]
    return {
        "deployment": claim.id,
        "project": asked.project,
        "stage": asked.stage,
        "step": claim.step,
        "attempt": claim.attempt,
        **traced,
    }


def _done(claim: Claim, function: StepFunction) -> dict[str, Any]:
    check_bounds(claim)
    if claim.step is not Step.PROVE and not _may_have_result(claim):
        outcome.step_progress(claim)
    try:
        answer = function(claim)
    except Interrupted:
        check_bounds(claim)
        # The worker ends, and what was broken off may have to be begun again.
        raise HandedOn from None
    if answer is None:
        return {"outcome": "ended"}
    return _committed(claim, answer)


def _may_have_result(claim: Claim) -> bool:
    """Whether the result may be stored already, which no progress is to replace."""
    is_late = claim.attempt > MOST_ATTEMPTS or Step.REVERT in claim.found.seconds
    return claim.step is Step.REPORT or (claim.step in {Step.REVERT, Step.UNDO} and is_late)


def check_bounds(claim: Claim) -> None:
    """Break off a step that must not go on; long ones call this again and again, and before they touch what serves.

    Raises LeaseLost, HandedOn, DeploymentCancelled, DeadlineExceeded, EngineUnavailable.
    """
    if claim.broken_off is Break.LOST or time.monotonic() > claim.sure_until:
        raise LeaseLost
    if claim.broken_off is Break.SHUTDOWN and claim.step in _HANDED_ON:
        raise HandedOn
    if claim.step not in ON_FAILURE:
        return
    about, facts = claim.asked.about, {"step": claim.step, **claim.asked.facts}
    if claim.broken_off is Break.CANCELLED:
        remains = "what it had done stays" if claim.step in OF_STAGE else "what it had made is removed"
        raise DeploymentCancelled(
            f"{about} was cancelled in step {claim.step}: {remains}; ask again when it is wanted.", facts
        )
    trouble = f" (the last trouble: {claim.trouble.message.rstrip('.')})" if claim.trouble else ""
    if claim.step in _HAVE_DEADLINE and claim.time_left <= 0:
        raise DeadlineExceeded(
            f"{about} failed: its deadline passed in step {claim.step}{trouble}; give it more time (a deployment's "
            "`timeout`, or DW_DEPLOY_TIMEOUT), or see what took so long.",
            facts,
        )
    if claim.attempt > MOST_ATTEMPTS:
        raise EngineUnavailable(
            f"{about} failed: step {claim.step} was begun {MOST_ATTEMPTS} times and never came to an end{trouble}; "
            "look into the workers' logs.",
            facts,
        )


def _committed(claim: Claim, answer: Done | Wait | InLane) -> dict[str, Any]:
    if isinstance(answer, InLane):
        _check(claim, deployments().release(claim, is_sent=True))
        send(Due(claim.id, claim.step, settings().host), answer.lane)
        return {"outcome": f"sent on to {answer.lane}"}
    if isinstance(answer, Wait):
        if claim.step is Step.PROVE:
            # Now that it takes its time; the others have from the beginning.
            outcome.step_progress(claim)
        _check(claim, deployments().wait(claim, answer.seconds, claim.found))
        driver().wake()
        return {"outcome": "waiting", "seconds": answer.seconds}
    to = answer.to or following(claim.step, claim.asked, answer.found)
    place = place_of(to, answer.found, claim.host)
    seconds = {**answer.found.seconds, claim.step: round(claim.elapsed, 3)}
    found = answer.found.updated(seconds=seconds)
    moves = None if place == settings().host else place
    _check(claim, deployments().advance(claim, to, found, claim.error, pause=answer.pause, host=moves))
    log.info("step_done", step=claim.step, seconds=seconds[claim.step])
    metrics.step_done(claim, seconds[claim.step])
    tracing.step_ended(claim, "done")
    if answer.pause:
        driver().wake()
    elif moves is None and is_in(lane_of(to)) and not driver().is_ending:
        return {"outcome": _GOES_ON, "next": to}
    else:
        send(Due(claim.id, to, place))
    return {"outcome": "done", "next": to}


def _check(claim: Claim, committed: Committed) -> None:
    if committed is Committed.COMMITTED:
        return
    claim.break_off(Break.CANCELLED if committed is Committed.CANCELLED else Break.LOST)
    check_bounds(claim)
    raise AssertionError("a refused commit breaks the step off")


def _failed(claim: Claim, cause: DeploymentError) -> dict[str, Any]:
    facts = {**claim.asked.facts, "host": claim.host, **cause.facts, "step": claim.step}
    error = type(cause)(cause.message, facts)
    if claim.step not in ON_FAILURE or (error.retryable and claim.attempt < MOST_ATTEMPTS):
        seconds = pause(claim.attempt)
        if not _may_have_result(claim):
            outcome.step_progress(claim, attempt=claim.attempt, trouble=error.message)
        deployments().retry(claim, seconds, error)
        driver().wake()
        log.warning("step_retried", step=claim.step, error=error.message, pause=round(seconds, 1))
        metrics.step_retried(claim, error)
        tracing.step_ended(claim, "retry", error)
        return {"outcome": "retry", "seconds": seconds, "error": error.message}
    to = after_failure(claim.step, claim.asked, claim.found)
    if deployments().advance(claim, to, claim.found, error) is Committed.COMMITTED:
        log.warning("step_failed", step=claim.step, error=error.message)
        metrics.step_failed(claim, error)
        tracing.step_ended(claim, "failed", error)
        send(Due(claim.id, to, settings().host))
    raise error from cause
