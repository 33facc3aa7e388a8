"""Asking a worker for something, and waiting for the answer, as this machine's settings have it (`worker.calls`)."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from worker.address import SHARED_QUEUE
from worker.calls import TAKEN_WITHIN, Calls
from worker.settings import settings


def send(task: str, /, **arguments: object) -> str:
    """Enqueue a task, less arguments that are None, and return its id.

    Raises Unanswered, SettingsInvalid.
    """
    return _calls().send(task, arguments)


def send_to(queue: str | None, task: str, /, **arguments: object) -> str:
    """The same by a queue: that of one host, or None for the one of all."""
    return _calls().send(task, arguments, queue=queue or SHARED_QUEUE)


def ask(task: str, patience: float, /, **arguments: object) -> Any:
    """Run a task on a worker and return its result.

    Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
    """
    return _calls().ask(task, arguments, patience)


def answer(task_id: str, task: str, patience: float) -> Any:
    """Wait for the result of a task that was sent.

    Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
    """
    return _calls().answer(task_id, task, patience)


def has_ended_within(task_id: str, patience: float) -> bool:
    """Wait for a task's end, `patience` seconds at the most.

    Raises Unanswered where Redis is lost.
    """
    return _calls().has_ended_within(task_id, patience)


def follow(task_id: str, task: str, patience: float = TAKEN_WITHIN) -> Iterator[dict[str, Any]]:
    """Yield the progress of what a stage was asked for whenever it changes, until it has ended.

    Raises Unanswered where no worker takes it within `patience` seconds, or Redis is lost on the way.
    """
    return _calls().follow(task_id, task, patience)


def outcome(task_id: str) -> Any:
    """The result of a task that has ended.

    Raises its DeploymentError.
    """
    return _calls().outcome(task_id)


@cache
def _calls() -> Calls:
    values = settings()
    signs = values.producer or values.signing_key_file
    return Calls(
        values.redis_url,
        broker_url=values.broker_url,
        result_backend=values.result_backend,
        sign=_sign if signs else None,
    )


def _sign(task: str, task_id: str, arguments: Mapping[str, object]) -> Mapping[str, object] | None:
    from worker.signature import own_signature  # noqa: PLC0415  # who has no key needs none of what it takes to sign

    return own_signature(task, task_id, arguments)
