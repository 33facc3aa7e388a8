"""`docker.deploy` itself: check, record, and send the first step."""

from typing import Any

from celery.exceptions import Ignore, Reject
from celery.signals import task_received
from celery.worker.request import Request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks.base import Operation, check_redelivery, checked, pause
from tasks.create import open_secrets
from tasks.deploy import outcome
from tasks.deploy.machine import StepArguments
from worker.celery import app
from worker.driver import send
from worker.reference import ImageReference
from worker.spec import DeploymentSpec, check_policy, parse
from worker.store import deployments


@app.task(
    name="docker.deploy",
    base=Operation,
    bind=True,
    Request="tasks.deploy.revoke:DeploymentRequest",
    # A copy of the message must not set a result that stands back to STARTED.
    track_started=False,
)
def deploy(self: Operation, /, *positional: object, **arguments: object) -> Any:
    """Accept a deployment; a second run finds it recorded.

    The result under this task's id is stored by whoever ends the deployment, so there is none yet.
    """
    spec = checked(DeploymentSpec, "docker.deploy", positional, arguments)
    deployment_id = parse(StepArguments, "docker.deploy", {"deployment_id": self.request.id}).deployment_id
    check_policy(ImageReference.parse(spec.image))
    open_secrets(spec)
    try:
        if deployments().is_known(deployment_id):
            # What another run stores is slow at times, and may come when the deployment has failed already.
            outcome.store_failure_again(deployment_id)
            raise Ignore
        check_redelivery(self)
        outcome.progress(deployment_id, step="accept")
        admit(deployment_id, spec)
    except (RedisError, RuntimeError) as error:
        # It may have been recorded: a second run finds that out.
        _try_later(self, error)
    raise Ignore


def _try_later(task: Operation, error: Exception) -> None:
    # Celery's own retry stores that state under this id: maybe over the end of a deployment that had been accepted.
    if task.request.retries >= Operation.max_retries:
        raise error
    attempt = task.request.retries + 1
    try:
        task.signature_from_request(countdown=pause(attempt), retries=attempt).apply_async()
    except OperationalError:
        raise Reject(error, requeue=True) from error


@task_received.connect
def note_order(request: Request, **_: object) -> None:
    """Note when a deployment's message came; called in the consumer's thread, one message after the other.

    Those of one second are accepted in threads, any of which can be the first; the last one asked for is to win.
    """
    if request.name == deploy.name:
        deployments().receive(request.id)


def admit(deployment_id: str, spec: DeploymentSpec) -> None:
    """Record a deployment, and have it begin, wait, or end at once; a second run changes nothing."""
    due = deployments().accept(deployment_id, spec)
    if due:
        send(due)
    else:
        # It waits; or it was recorded after all, and may have failed before this run's progress was stored.
        outcome.store_failure_again(deployment_id)
