"""`docker.deploy` itself: check, record, and send the first step; `docker.rollback` and `docker.stage` likewise."""

from collections.abc import Callable

import structlog
from celery.exceptions import Ignore, Retry
from celery.signals import task_received
from celery.worker.request import Request
from redis.exceptions import RedisError

from tasks.base import Operation, Undone, check_redelivery, checked, try_later
from tasks.create import open_secrets
from tasks.deploy import outcome
from tasks.deploy.machine import StepArguments
from worker import metrics
from worker.celery import Lane, app
from worker.driver import send
from worker.errors import SpecInvalid
from worker.orders import NUMBERED_TASKS, numbered_by_broker
from worker.policy import policy
from worker.record import Version
from worker.settings import settings
from worker.signature import check_stage
from worker.spec import Asked, DeploymentSpec, parse
from worker.store import deployments, hosts
from worker.traceparent import HEADER, context_of

log = structlog.get_logger()


class Acceptance(Operation):
    """A task that asks something of a stage, which has a record under the task's id.

    The result under this id is stored by whoever ends what was asked for, so there is none when it is accepted.
    """

    abstract = True
    Request = "tasks.deploy.revoke:DeploymentRequest"
    # A copy of the message must not set a result that stands back to STARTED.
    track_started = False
    # Nothing is decided without Redis, and an error of Redis would be stored over a deployment under way.
    max_retries = None

    def on_failure(self, exc: BaseException, *_: object) -> None:
        metrics.request_refused(exc)


@app.task(name="docker.deploy", base=Acceptance, bind=True)
def deploy(self: Acceptance, /, *positional: object, **arguments: object) -> str:
    """Accept a deployment; a second run finds it recorded."""
    spec = checked(DeploymentSpec, "docker.deploy", positional, arguments)
    return accept(self, lambda: (spec, None))


def accept(task: Acceptance, choose: Callable[[], tuple[Asked, Version | None]]) -> str:
    """Accept what `choose` returns, and the version that it goes back to, if any; says so to the worker's log alone.

    A second run finds it recorded, and chooses nothing. Raises what `choose` raises, PolicyDenied, CredentialMissing.
    """
    deployment_id = parse(StepArguments, task.name, {"deployment_id": task.request.id}).deployment_id
    try:
        if deployments().is_known(deployment_id):
            # The run before this one may have stored its progress when the deployment had failed already.
            outcome.store_failure_again(deployment_id)
            raise Ignore
        check_redelivery(task)
        asked, rollback_to = choose()
        check_stage(asked.where)
        if isinstance(asked, DeploymentSpec):
            check_host(asked.host)
            policy().check(asked)
            open_secrets(asked)
        outcome.progress(deployment_id, step="accept")
        admit(deployment_id, asked, rollback_to, context_of(task.request.get(HEADER)))
    except (RedisError, RuntimeError) as error:
        # It may have been recorded: a second run finds that out.
        try:
            try_later(task, error)
        except Retry:
            # Celery stores RETRY when the next try is on its way, over whatever the result is by then.
            raise Undone from error
    # Not by raising Ignore, of which Celery would make a traceback that takes longer than all of this.
    task.request.ignore_result = True
    return "accepted"


@task_received.connect
def note_order(request: Request, **_: object) -> None:
    """Note when a message came that asks something of a stage, where the broker hasn't: it is another Redis.

    Called in the consumer's thread, one message after the other. Those of one second are accepted in threads, any of
    which can be the first; the last one asked for is to win.
    """
    if request.name in NUMBERED_TASKS and not numbered_by_broker(settings()):
        deployments().receive(request.id)


def check_host(host: str | None) -> None:
    """Refuse a host that nobody has heard of, or that takes on nothing new.

    Raises SpecInvalid.
    """
    if host is None:
        return
    known = {settings().host, *hosts().names()}
    if host not in known:
        raise _wrong_host(f"no worker has ever served host {host}; there are {', '.join(sorted(known))}")
    if hosts().is_drained(host):
        raise _wrong_host(f"host {host} is drained; name another one, or end that with `dw drain {host} --end`")


def _wrong_host(reason: str) -> SpecInvalid:
    return SpecInvalid(
        f"The arguments of docker.deploy are wrong: host: {reason}.", {"step": "accept", "fields": {"host": reason}}
    )


def admit(deployment_id: str, asked: Asked, rollback_to: Version | None, traceparent: str | None = None) -> None:
    """Record what is asked for, and have it begin, wait, or end at once; a second run changes nothing.

    `traceparent` is the trace that it was asked for in.

    Raises SpecInvalid where it names no host, and no host takes on anything new.
    """
    accepted = deployments().accept(deployment_id, asked, rollback_to, traceparent)
    if accepted.is_nowhere:
        raise _wrong_host("all hosts that are there are drained; end that for one of them with `dw drain HOST --end`")
    log.info("accepted", **asked.facts, rollback_to=rollback_to and rollback_to.deployment_id)
    if accepted.away:
        waits_for = f"host {accepted.away}, which is away"
        outcome.progress(deployment_id, step="accept", waits_for=waits_for)
    if accepted.due:
        is_likely_there = isinstance(asked, DeploymentSpec) and (rollback_to or asked.policy == "missing")
        # Then the pull ends at once, and no other message is needed for what follows it.
        send(accepted.due, Lane.WORK if is_likely_there else None)
    if accepted.away or not accepted.due:
        # It waits; or it was recorded after all, and may have failed before this run's progress was stored.
        outcome.store_failure_again(deployment_id)
