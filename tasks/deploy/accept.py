"""`docker.deploy` itself: check, record, and send the first step."""

from typing import Any

from celery.exceptions import Ignore, Retry
from celery.signals import task_received
from celery.worker.request import Request
from redis.exceptions import RedisError

from tasks.base import Operation, check_redelivery, checked, try_later
from tasks.create import open_secrets
from tasks.deploy import outcome
from tasks.deploy.machine import StepArguments
from worker.celery import app
from worker.driver import send
from worker.reference import ImageReference
from worker.settings import settings
from worker.spec import DeploymentSpec, check_policy, parse
from worker.store import deployments
from worker.store.orders import numbered_by_broker


@app.task(
    name="docker.deploy",
    base=Operation,
    bind=True,
    Request="tasks.deploy.revoke:DeploymentRequest",
    # A copy of the message must not set a result that stands back to STARTED.
    track_started=False,
    # Nothing is decided without Redis, and an error of Redis would be stored over a deployment under way.
    max_retries=None,
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
            # The run before this one may have stored its progress when the deployment had failed already.
            outcome.store_failure_again(deployment_id)
            raise Ignore
        check_redelivery(self)
        outcome.progress(deployment_id, step="accept")
        admit(deployment_id, spec)
    except (RedisError, RuntimeError) as error:
        # It may have been recorded: a second run finds that out.
        try:
            try_later(self, error)
        except Retry:
            # Celery stores RETRY when the next try is on its way, over whatever the result is by then.
            raise Ignore from error
    raise Ignore


@task_received.connect
def note_order(request: Request, **_: object) -> None:
    """Note when a deployment's message came, where the broker hasn't: it is another Redis than the records'.

    Called in the consumer's thread, one message after the other. Those of one second are accepted in threads, any of
    which can be the first; the last one asked for is to win.
    """
    if request.name == deploy.name and not numbered_by_broker(settings()):
        deployments().receive(request.id)


def admit(deployment_id: str, spec: DeploymentSpec) -> None:
    """Record a deployment, and have it begin, wait, or end at once; a second run changes nothing."""
    due = deployments().accept(deployment_id, spec)
    if due:
        send(due)
    else:
        # It waits; or it was recorded after all, and may have failed before this run's progress was stored.
        outcome.store_failure_again(deployment_id)
