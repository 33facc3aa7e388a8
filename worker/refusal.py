"""Telling the caller of a message that it isn't taken, before any task has it."""

import structlog
from celery import current_app, states
from redis.exceptions import RedisError

from worker.errors import DeploymentError, SpecInvalid
from worker.settings import settings
from worker.store import deployments

log = structlog.get_logger()

DEEPEST = 16
"""How deep lists and objects may be in each other; no task has use for more than 5."""


def tell(task_id: str, error: DeploymentError) -> None:
    """Store the error as the result of a message, unless there is something under its id already.

    Who writes messages chooses their ids, and could choose that of somebody else's deployment.
    """
    try:
        if not has_result(task_id):
            current_app.backend.store_result(task_id, error, states.FAILURE)
    except (RedisError, RuntimeError) as trouble:
        log.warning("refusal_not_told", id=task_id, error=str(trouble))


def has_result(task_id: str) -> bool:
    """Whether a task of this id has begun, or ended.

    Raises RedisError, RuntimeError.
    """
    began = current_app.backend.get_task_meta(task_id)["status"] not in {states.PENDING, states.RETRY}
    return began or deployments().is_known(task_id)


def too_long() -> SpecInvalid:
    """The error for a message that is longer than what is read."""
    most = settings().message_bytes
    return invalid(f"it is longer than the {most} bytes that are read: send less, or raise DW_MESSAGE_BYTES")


def invalid(reason: str) -> SpecInvalid:
    """The error for a message that no task can make anything of."""
    return SpecInvalid(f"The message is refused: {reason}.", {"step": "accept"})


def is_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects are in each other by more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(each, levels - 1) for each in inner)
