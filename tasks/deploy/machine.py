"""How each step runs: claim it, do it, commit, send the next.

A message carries only a deployment's id, so any copy of it does the work that is due, or finds nothing to do.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from tasks.base import Operation
from tasks.deploy import outcome
from worker.celery import app
from worker.driver import driver, send
from worker.errors import DeadlineExceeded, DeploymentError, EngineUnavailable
from worker.record import ON_FAILURE, ON_SUCCESS, Claim, Found, Step
from worker.spec import Arguments, DeploymentId, parse
from worker.store import deployments

log = structlog.get_logger()

MOST_ATTEMPTS = 5
_LONGEST_PAUSE = 30.0
# A proven candidate is brought to its end, however late.
_HAVE_DEADLINE = ON_FAILURE.keys() - {Step.PROMOTE}


@dataclass(frozen=True)
class Done:
    """The step is done; what it found out, and the next step where that isn't the usual one."""

    found: Found
    to: Step | None = None


@dataclass(frozen=True)
class Wait:
    """The step isn't done yet and is to be looked at again in some seconds."""

    seconds: float


class StepArguments(Arguments):
    deployment_id: DeploymentId


class LeaseLost(Exception):  # no error: another worker has the step
    """Raised inside a step that notices that another worker may have it."""


StepFunction = Callable[[Claim], Done | Wait | None]
"""None: the step has ended the deployment."""


def step(name: Step) -> Callable[[StepFunction], StepFunction]:
    """Register what a step does as the Celery task `docker.deploy.<step>`."""

    def register(function: StepFunction) -> StepFunction:
        @app.task(name=name.task, base=Operation, ignore_result=True, autoretry_for=())
        def run(**named: object) -> dict[str, Any]:
            return perform(function, name, parse(StepArguments, name.task, named).deployment_id)

        return function

    return register


def perform(function: StepFunction, name: Step, deployment_id: str) -> dict[str, Any]:
    """Do a step if it is due, and say in a word what came of it.

    Raises the error that ends the deployment, so that monitors show this step as the one that failed.
    """
    claim = deployments().claim(deployment_id, name)
    if claim is None:
        return {"outcome": "nothing due"}
    with (
        structlog.contextvars.bound_contextvars(
            deployment=claim.id, project=claim.spec.project, stage=claim.spec.stage, attempt=claim.attempt
        ),
        driver().renewing(claim),
    ):
        try:
            check_bounds(claim)
            outcome.progress(claim.id, step=claim.step)
            return _committed(claim, function(claim))
        except DeploymentError as error:
            return _failed(claim, error)
        except LeaseLost:
            return {"outcome": "lease lost"}


def check_bounds(claim: Claim) -> None:
    """Break off a step that must not go on; long ones call this again and again.

    Raises DeadlineExceeded, LeaseLost, EngineUnavailable.
    """
    if claim.lost.is_set():
        raise LeaseLost
    if claim.step not in ON_FAILURE:
        return
    if claim.step in _HAVE_DEADLINE and claim.time_left <= 0:
        raise DeadlineExceeded(
            f"Deployment of {claim.spec.image} to {claim.spec.project}/{claim.spec.stage} failed: its deadline passed "
            f"in step {claim.step}; give it more time with `timeout`, or see what took so long.",
            {"step": claim.step, "image": claim.spec.image},
        )
    if claim.attempt > MOST_ATTEMPTS:
        raise EngineUnavailable(
            f"Deployment of {claim.spec.image} to {claim.spec.project}/{claim.spec.stage} failed: {MOST_ATTEMPTS} "
            f"workers in a row ended in step {claim.step}; look into their logs.",
            {"step": claim.step, "image": claim.spec.image},
        )


def _committed(claim: Claim, answer: Done | Wait | None) -> dict[str, Any]:
    if answer is None:
        return {"outcome": "ended"}
    if isinstance(answer, Wait):
        deployments().wait(claim, answer.seconds, claim.found)
        driver().wake()
        return {"outcome": "waiting", "seconds": answer.seconds}
    following = answer.to or ON_SUCCESS[claim.step]
    seconds = {**answer.found.seconds, claim.step: round(claim.elapsed, 3)}
    if deployments().advance(claim, following, answer.found.model_copy(update={"seconds": seconds}), claim.error):
        log.info("step_done", step=claim.step, seconds=seconds[claim.step])
        send(claim.id, following)
    return {"outcome": "done", "next": following}


def _failed(claim: Claim, error: DeploymentError) -> dict[str, Any]:
    if claim.step not in ON_FAILURE or (error.retryable and claim.attempt < MOST_ATTEMPTS):
        pause = min(_LONGEST_PAUSE, 2 ** (claim.attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311  # no secret hangs on it
        deployments().retry(claim, pause)
        driver().wake()
        log.warning("step_retried", step=claim.step, error=error.message, pause=round(pause, 1))
        return {"outcome": "retry", "seconds": pause, "error": error.message}
    if deployments().advance(claim, ON_FAILURE[claim.step], claim.found, error):
        log.warning("step_failed", step=claim.step, error=error.message)
        send(claim.id, ON_FAILURE[claim.step])
    raise error
