"""What the caller sees under the deployment's id: progress while it runs, and the result, once."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

import structlog
from celery import states
from redis.exceptions import RedisError, ResponseError

from worker import monitors
from worker.celery import app
from worker.engine import PullProgress
from worker.record import Claim, Found, Step
from worker.reference import ImageReference
from worker.results import DeploymentResult, Instance
from worker.settings import settings
from worker.spec import DeploymentSpec, StageOrder
from worker.store import deployments

log = structlog.get_logger()

_PROGRESS_EVERY = 0.25
_MOST_LAYERS_TOLD = 4
_OF_PULL = ("current", "total", "layers", "layers_done", "at_work")
"""What is told of a pull. All that ask for one are told the same, four times a second: it is to stay small."""
R = TypeVar("R", bound=Instance)


def progress(deployment_id: str, **meta: object) -> None:
    """Set the result backend's state to `PROGRESS`, if that can be done: no deployment is worth less for it."""
    try:
        app.backend.store_result(deployment_id, meta, "PROGRESS")
    except (RedisError, RuntimeError) as error:
        log.warning("progress_not_stored", deployment=deployment_id, error=str(error))


def step_progress(claim: Claim, **meta: object) -> None:
    """As `progress`, of a claim's step.

    Celery lets nothing be stored over a success, but over a failure; and who has stood still for so long that its
    lease is over may have stored this over the end of the deployment.
    """
    progress(claim.id, step=claim.step, **meta)
    if time.monotonic() > claim.sure_until:
        try:
            store_failure_again(claim.id)
        except (RedisError, RuntimeError) as error:
            log.warning("result_not_stored_again", deployment=claim.id, error=str(error))


def store_failure_again(deployment_id: str) -> None:
    """Store the result of a deployment that has failed once more, in case something late was stored over it.

    Raises RedisError, or RuntimeError where the result backend has given up.
    """
    standing = deployments().standings([deployment_id]).get(deployment_id)
    if standing and standing.error and standing.step in {Step.REPORT, Step.ENDED}:
        app.backend.store_result(deployment_id, standing.error, states.FAILURE)


def pull_progress(claim: Claim) -> Callable[[PullProgress], None]:
    """A listener to a pull that says at most four times a second how far it is."""
    said_at = 0.0

    def listen(pulled: PullProgress) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _PROGRESS_EVERY:
            said_at = time.monotonic()
            step_progress(
                claim,
                current=pulled.current,
                total=pulled.total,
                layers=pulled.layers,
                layers_done=pulled.layers_done,
                at_work=[asdict(each) for each in pulled.at_work(_MOST_LAYERS_TOLD)],
            )
            megabytes = f"{pulled.current / 1e6:.0f} of {pulled.total / 1e6:.0f} MB"
            monitors.describe(claim.id, result=f"step {claim.step}, {megabytes}", timestamp=claim.created)

    return listen


def follow_progress(claim: Claim, leader: str) -> None:
    """Say of a claim's step what is said of another deployment that does it for both."""
    try:
        meta = app.backend.get_task_meta(leader)
    except (RedisError, RuntimeError) as error:
        log.warning("progress_not_read", deployment=leader, error=str(error))
        return
    told = meta["result"] if meta["status"] == "PROGRESS" else {}
    if told.get("step") == claim.step and "total" in told:
        of_pull = {name: told[name] for name in _OF_PULL if name in told}
        step_progress(claim, waits_for=f"the pull of deployment {leader}", **of_pull)


def show(claim: Claim, task_id: str) -> None:
    """Have monitors show what the deployment and the task that does its step are about, and which step that is."""
    about = {"deployment_id": claim.id, "project": claim.asked.project, "stage": claim.asked.stage}
    monitors.describe(task_id, args=claim.asked.title, kwargs=repr({**claim.asked.facts, **about}))
    told = {} if claim.step is Step.REPORT else {"result": f"step {claim.step}"}
    monitors.describe(claim.id, args=claim.asked.title, timestamp=claim.created, **told)


def store(claim: Claim) -> None:
    """Store the result of a deployment; a second run stores the same again.

    Celery told monitors that the task was received and started; that it ended is told here.
    """
    if claim.error is not None:
        _store(claim.id, claim.error, states.FAILURE)
        monitors.failed(claim.id, claim.error, claim.age)
    else:
        value = result(claim)
        _store(claim.id, value, states.SUCCESS)
        monitors.succeeded(claim.id, value, claim.age)


def result(claim: Claim) -> dict[str, object]:
    """The contract's result of what succeeded."""
    if isinstance(claim.asked, StageOrder):
        return _of_order(claim, claim.asked)
    return of_claim(claim).model_dump()


def of_claim(claim: Claim) -> DeploymentResult:
    """The contract's result of a deployment, once it is proven, or unchanged."""
    return of_deployment(DeploymentResult, claim.id, claim.spec, claim.found, claim.host)


def _of_order(claim: Claim, order: StageOrder) -> dict[str, object]:
    return {
        "deployment_id": claim.id,
        "project": order.project,
        "stage": order.stage,
        "action": order.action,
        "containers": claim.found.containers,
    }


def of_deployment(kind: type[R], deployment_id: str, spec: DeploymentSpec, found: Found, host: str) -> R:
    """What a deployment has brought: a result, or as much of one as is known of a version that was adopted."""
    return kind.model_validate(
        {
            **found.model_dump(include=set(kind.model_fields)),
            "deployment_id": deployment_id,
            "project": spec.project,
            "stage": spec.stage,
            "host": host,
            "image": str(ImageReference.parse(spec.image)),
            "network": spec.network or settings().network,
            "state": "unchanged" if found.unchanged else "live",
        }
    )


def _store(deployment_id: str, value: object, state: str) -> None:
    try:
        app.backend.store_result(deployment_id, value, state)
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        # Somebody has put something else there: no reason to hold the stage for ever.
        log.warning("result_not_stored", deployment=deployment_id, error=str(error))
