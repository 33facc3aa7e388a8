"""Asking a worker for something, and waiting for the answer.

Answers are looked up by their id: Celery's own result objects, kept alive by an error's traceback, fail loudly
when the interpreter ends.
"""

import time
from collections.abc import Iterator
from typing import Any

from celery.states import PENDING, READY_STATES
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.celery import app, sign_what_is_sent
from worker.cli.errors import Unanswered
from worker.errors import DeploymentError
from worker.settings import settings
from worker.version import needed

_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.05

sign_what_is_sent()
if (settings().broker_url or settings().redis_url).startswith("redis"):
    # What ours adds is for those who take messages; who only sends needs none of what it takes to import it.
    app.conf.broker_transport = None


def send(task: str, /, **arguments: object) -> str:
    """Enqueue a task, less arguments that are None, and return its id.

    Raises Unanswered.
    """
    return send_to(None, task, **arguments)


def send_to(queue: str | None, task: str, /, **arguments: object) -> str:
    """The same by a queue: that of one host, or None for the one of all."""
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return app.send_task(task, kwargs=given, retry=False, queue=queue, headers={"dw_needs": needed(given)}).id
    except (OperationalError, RedisError, RuntimeError) as error:
        broker, setting = ("The broker", "DW_BROKER_URL") if settings().broker_url else ("Redis", "DW_REDIS_URL")
        raise Unanswered(f"{broker} can't be reached to send {task} ({_line(error)}): check {setting}.") from None


def ask(task: str, patience: float, /, **arguments: object) -> Any:
    """Run a task on a worker and return its result.

    Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
    """
    return answer(send(task, **arguments), task, patience)


def answer(task_id: str, task: str, patience: float) -> Any:
    """Wait for the result of a task that was sent.

    Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
    """
    if not has_ended_within(task_id, patience):
        raise _unanswered(task_id, task, patience)
    return outcome(task_id)


def has_ended_within(task_id: str, patience: float) -> bool:
    """Wait for a task's end, `patience` seconds at the most.

    Raises Unanswered where Redis is lost.
    """
    give_up_at = time.monotonic() + patience
    for pause in _pauses():
        if _has_ended(task_id):
            return True
        if time.monotonic() > give_up_at:
            return False
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _pauses() -> Iterator[float]:
    """Short ones first: most answers are there in a few hundredths of a second."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def follow(task_id: str, task: str, patience: float = 30) -> Iterator[dict[str, Any]]:
    """Yield the progress of what a stage was asked for whenever it changes, until it has ended.

    Raises Unanswered where no worker takes it within `patience` seconds, or Redis is lost on the way.
    """
    seen: dict[str, Any] | None = None
    give_up_at = time.monotonic() + patience
    while (meta := _meta(task_id))["status"] not in READY_STATES:
        if meta["status"] == PENDING and time.monotonic() > give_up_at:
            raise _unanswered(task_id, task, patience)
        told = meta["result"]
        if isinstance(told, dict) and "step" in told and told != seen:
            seen = told
            yield told
        time.sleep(_LONGEST_PAUSE)


def outcome(task_id: str) -> Any:
    """The result of a task that has ended.

    Raises its DeploymentError.
    """
    result = _meta(task_id)["result"]
    if isinstance(result, BaseException):
        raise result
    return result


def _unanswered(task_id: str, task: str, patience: float) -> Unanswered:
    last = _meta(task_id)["result"]
    if isinstance(last, DeploymentError):  # the state is RETRY
        return Unanswered(f"{task} has not succeeded within {patience:g} s and is tried again: {last.message}")
    return Unanswered(
        f"No worker has answered {task} within {patience:g} s: see that one runs (`celery -A worker worker`) "
        "and uses the same DW_REDIS_URL and DW_NAMESPACE."
    )


def _line(error: Exception) -> str:
    # Celery's result backend says only that it has tried often enough, and a timeout nothing at all.
    return " ".join(str(error.__cause__ or error).split()) or "no answer"


def _has_ended(task_id: str) -> bool:
    return _meta(task_id)["status"] in READY_STATES


def _meta(task_id: str) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = app.backend.get_task_meta(task_id)
    except (RedisError, RuntimeError) as error:
        raise Unanswered(
            f"Redis was lost while {task_id} was awaited ({_line(error)}): what was enqueued goes on once it is back."
        ) from None
    return meta
