"""The base of all tasks: arguments checked, errors of the contract, transient ones tried again.

A task of the contract is a plain function from checked arguments to a result, registered by `operation`:

    class Arguments(worker.spec.Arguments): ...
    class Result(tasks.base.Result): ...

    @operation("docker.stop")
    def stop(arguments: Arguments) -> Result: ...

Messages are acknowledged late, so each function says in its docstring what a second run does. One that kills its
worker would go on to kill the next for ever, so what was given out again is counted.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import structlog
from celery import Task, states
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError
from pydantic import BaseModel, ConfigDict
from redis.exceptions import RedisError

from worker.address import SHARED_QUEUE
from worker.celery import Lane, app
from worker.errors import DeploymentError, EngineUnavailable, PolicyDenied, SpecInvalid, Transient
from worker.newer import LEFT_FOR, newer_are_there
from worker.refusal import has_result
from worker.settings import settings
from worker.signature import HEADER, UNSIGNED_TASKS, Signature, sent_by, verified
from worker.spec import Arguments, ContainerArguments, has_unknown_argument, parse
from worker.store import Seen, hosts, nonces, redeliveries

log = structlog.get_logger()

MOST_RETRIES = 4
_LONGEST_PAUSE = 30.0
_MOST_LOST_WORKERS = 5


class Result(BaseModel):
    """The base of all results."""

    model_config = ConfigDict(frozen=True)


class Operation(Task):  # type: ignore[type-arg]  # celery-types makes Task generic; at run time it isn't
    """What all tasks share. Celery swallows a misspelt option in silence, so they are stated once, here."""

    abstract = True
    Request = "worker.monitors:ToldRequest"
    acks_late = True
    throws = (DeploymentError,)
    max_retries: int | None = MOST_RETRIES
    # Celery's own check of arguments would fail at the sender, with a TypeError.
    typing = False
    # Told once the message is known to be taken, and not over the result of one that comes again.
    track_started = False

    def __call__(self, /, *positional: object, **named: object) -> Any:
        """Run the task for a message, if that may be taken."""
        if not settings().require_signature or self.name in UNSIGNED_TASKS:
            return self._run_if_known(*positional, **named)
        with _signed(self, named):
            return self._run_if_known(*positional, **named)

    def _run_if_known(self, /, *positional: object, **named: object) -> Any:
        try:
            return self.run(*positional, **named)
        except SpecInvalid as error:
            if not self.request.id or not has_unknown_argument(error) or not newer_are_there():
                raise
            # It need be no mistake: they may know of such an argument.
            log.info("message_left_to_newer_workers", task=self.name, id=self.request.id)
            _send_again(self, (self.request.delivery_info or {}).get("routing_key"), countdown=LEFT_FOR)


class Undone(Ignore):
    """What the message asks for is yet to be done, by a copy of it that is on its way."""


A = TypeVar("A", bound=Arguments)
R = TypeVar("R", bound=Result)


def came_by_shared_queue(task: "Task[..., Any]") -> bool:
    """Whether a message was sent to no host in particular."""
    return (task.request.delivery_info or {}).get("routing_key") == SHARED_QUEUE


def operation(name: str, lane: Lane = Lane.QUICK) -> Callable[[Callable[[A], R]], Callable[[A], R]]:
    """Register a function as a task of the contract.

    Clients know one queue: what takes its time, or is about a container of another host, is sent on from there to the
    queue that it belongs to.
    """

    def register(function: Callable[[A], R]) -> Callable[[A], R]:
        (parameter,) = inspect.signature(function).parameters.values()
        model: type[A] = parameter.annotation

        @app.task(name=name, base=Operation, bind=True)
        def run(self: Operation, /, *positional: object, **named: object) -> dict[str, Any]:
            check_redelivery(self)
            _tell_started(self)
            arguments = checked(model, name, positional, named)
            try:
                if came_by_shared_queue(self):
                    _send_to_its_queue(self, lane, arguments)
                return function(arguments).model_dump(mode="json")
            except Transient as error:
                try_later(self, error)
            except RedisError as error:
                try_later(self, _without_redis(name, error))

        return function

    return register


@contextmanager
def _signed(task: Operation, arguments: Mapping[str, object]) -> Iterator[None]:
    """Do what a message asks for in its producer's name, if it has signed that, and it isn't done already.

    Raises PolicyDenied; Ignore where there is a result under the message's id, which is not to be touched.
    """
    task_id = str(task.request.id)
    try:
        signature = verified(task.name, task_id, arguments, task.request.get(HEADER))
        seen = nonces().see(signature.producer, signature.nonce, task_id, seconds=signature.expires_in + 1)
    except PolicyDenied as error:
        if has_result(task_id):
            log.warning("message_refused", task=task.name, id=task_id, error=error.message)
            raise Ignore from error
        raise
    except RedisError as error:
        try:
            try_later(task, _without_redis(task.name, error))
        except Retry:
            # Celery would store RETRY over whatever the result is.
            raise Undone from error
    if seen is Seen.REPLAYED:
        log.warning("message_replayed", task=task.name, id=task_id, producer=signature.producer)
        raise Ignore
    try:
        with sent_by(signature.producer):
            yield
    except (Retry, Reject, Undone):
        raise
    except BaseException:
        _spend(signature)
        raise
    _spend(signature)


def _spend(signature: Signature) -> None:
    try:
        nonces().spend(signature.producer, signature.nonce)
    except RedisError as error:
        log.warning("signature_not_spent", producer=signature.producer, error=str(error))


def _without_redis(task: str, error: RedisError) -> EngineUnavailable:
    return EngineUnavailable(
        f"{task} failed: Redis is lost to the worker, or denies it something ({' '.join(str(error).split())}); see "
        "DW_REDIS_URL, and the rights of its user."
    )


def _tell_started(task: Operation) -> None:
    try:
        if task.request.id and not task.request.ignore_result:
            task.update_state(state=states.STARTED)
    except (RedisError, RuntimeError) as error:
        # What is asked for is worth more than that it is told.
        log.warning("start_not_told", task=task.name, error=str(error))


def _send_to_its_queue(task: Operation, lane: Lane, arguments: Arguments) -> None:
    host = hosts().located(arguments.container) if isinstance(arguments, ContainerArguments) else None
    if lane is not Lane.QUICK or host not in {None, settings().host}:
        send_on(task, lane, host or settings().host)


def send_on(task: Operation, lane: Lane, host: str) -> NoReturn:
    """Have a message go to a host's own queue; its caller is told where that is away."""
    if host != settings().host and host in hosts().away():
        task.update_state(state="PROGRESS", meta={"waits_for": f"host {host}, which is away"})
    _send_again(task, lane.queue(settings().namespace, host))


def _send_again(task: Operation, queue: str | None, countdown: float | None = None) -> NoReturn:
    try:
        task.signature_from_request(queue=queue, countdown=countdown).apply_async()
    except OperationalError as error:
        raise Reject(error, requeue=True) from error
    raise Undone


def try_later(task: Operation, error: Exception) -> NoReturn:
    """Have the task run again after a pause; raises its error once it has been tried often enough."""
    try:
        raise task.retry(exc=error, countdown=pause(task.request.retries + 1)) from error
    except Reject:
        # The broker can't be had. Celery would have the message dropped: it is to be given out again.
        raise Reject(error, requeue=True) from error


def check_redelivery(task: Operation) -> None:
    """Refuse a message that so many workers were lost with, or gave back.

    Raises EngineUnavailable.
    """
    task_id, delivery = task.request.id, task.request.delivery_info
    if not task_id or not delivery or not delivery.get("redelivered"):
        return
    try:
        lost = redeliveries().count(task_id)
    except RedisError as error:
        log.warning("redelivery_not_counted", task=task.name, error=str(error))
        return
    if lost >= _MOST_LOST_WORKERS:
        raise EngineUnavailable(
            f"{task.name} failed: its worker died, or gave it back, {lost} times; look into the workers' logs.",
            {"lost_workers": lost},
        )


def pause(attempt: int) -> float:
    """Seconds between this attempt and the next: 1, 2, 4, … to 30, each times a random factor from a half to 1.

    Celery's own jitter begins at 0, so that a row of its pauses need not grow.
    """
    return min(_LONGEST_PAUSE, 2.0 ** min(attempt - 1, 10)) * random.uniform(0.5, 1)  # noqa: S311  # no secret hangs on it


def checked(model: type[A], task: str, positional: Sequence[object], named: Mapping[str, object]) -> A:
    """Check what a message holds.

    Raises SpecInvalid.
    """
    if positional:
        raise SpecInvalid(
            f"The arguments of {task} are wrong: give each by its name.",
            {"step": "accept", "fields": {"arguments": "give each by its name"}},
        )
    return parse(model, task, named)
