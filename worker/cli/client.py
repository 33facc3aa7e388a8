"""Asking a worker for something, and waiting for the answer."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from celery.exceptions import TimeoutError as NoAnswer
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.celery import app
from worker.errors import DeploymentError

_POLL_SECONDS = 0.1


class Unanswered(Exception):  # a message for people, shown as it is
    """Nobody took what was sent, or it could not be sent."""


def ask(task: str, patience: float, /, **arguments: object) -> Any:
    """Run a task on a worker and return its result; arguments that are None are left out.

    Raises the task's DeploymentError, Unanswered.
    """
    with contextlib.suppress(NoAnswer):
        return send(task, **arguments).get(timeout=patience)
    # Raised out here, as an error with that one as its context would keep Celery's result alive until the
    # interpreter ends, where its finalizer fails loudly.
    raise Unanswered(
        f"No worker has answered {task} within {patience:g} s: see that one runs (`celery -A worker worker`) "
        "and uses the same DW_REDIS_URL and DW_NAMESPACE."
    )


def send(task: str, /, **arguments: object) -> AsyncResult[Any]:
    """Enqueue a task.

    Raises Unanswered.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return app.send_task(task, kwargs=given, retry=False)
    except (OperationalError, RedisError, RuntimeError) as error:
        raise Unanswered(f"Redis can't be reached to send {task} ({error}): check DW_REDIS_URL.") from None


def follow(result: AsyncResult[Any]) -> Iterator[dict[str, Any]]:
    """Yield the progress of a deployment whenever it changes, until it has ended.

    Raises Unanswered where Redis is lost on the way.
    """
    seen: dict[str, Any] | None = None
    try:
        while not result.ready():
            meta = result.info
            if isinstance(meta, dict) and "step" in meta and meta != seen:
                seen = meta
                yield meta
            time.sleep(_POLL_SECONDS)
    except (RedisError, RuntimeError) as error:
        raise Unanswered(
            f"Redis was lost while following deployment {result.id} ({error}); the deployment goes on."
        ) from None


def outcome(result: AsyncResult[Any]) -> dict[str, Any]:
    """The result of a deployment that has ended.

    Raises its DeploymentError.
    """
    value: dict[str, Any] = result.get()
    return value


__all__ = ["DeploymentError", "Unanswered", "ask", "follow", "outcome", "send"]
