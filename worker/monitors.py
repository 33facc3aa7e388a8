"""What Flower and other monitors are told besides what Celery tells them of messages.

It goes by the dispatcher of this process' consumer, which sends many events at once, from whichever thread they come.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery.utils import uuid
from celery.utils.saferepr import saferepr
from celery.worker.consumer import Consumer
from celery.worker.request import Request

from worker.errors import DeploymentCancelled, DeploymentError, DeploymentSuperseded, is_named

_consumers: list[Consumer] = []
_ended: set[str] = set()
_WITHDRAWN = {DeploymentCancelled.__name__, DeploymentSuperseded.__name__}
_ENDS = {"task-succeeded", "task-failed"}


def connect(consumer: Consumer) -> None:
    """Tell by this consumer from now on."""
    _consumers[:] = [consumer]


def tell(event: str, task_id: str, **fields: object) -> None:
    """Tell of a task, if that can be done: no deployment is worth less for it."""
    for consumer in _consumers:
        # It gets another one with each new connection, and has none while it ends.
        if dispatcher := consumer.event_dispatcher:  # type: ignore[attr-defined]  # not in the stubs
            dispatcher.send(event, uuid=task_id, **fields)


def describe(task_id: str, **fields: object) -> None:
    """Have a task shown with these fields, in whatever state it is.

    Of Celery's events only this one leaves the state, the worker and the times of the others as they are
    (celery 5.7, `events.state.Task.event`).
    """
    tell("task-sent", task_id, **fields)


def succeeded(task_id: str, result: object, seconds: float) -> None:
    """Tell that a task has ended well, and what with."""
    tell("task-succeeded", task_id, result=saferepr(result), runtime=seconds)


def failed(task_id: str, error: BaseException, seconds: float) -> None:
    """Tell that a task has failed, by the error's sentence; or, where nobody wants it any more, that it was revoked."""
    event, fields = of_contract("task-failed", {"exception": repr(error), "traceback": None, "runtime": seconds})
    tell(event, task_id, **fields)


def of_contract(event: str, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """What is told instead, where it is about an error of the contract: that is a sentence, with no traceback."""
    name = str(fields.get("exception", "")).partition(":")[0]
    if not is_named(name):
        return event, fields
    return "task-revoked" if event == "task-failed" and name in _WITHDRAWN else event, {**fields, "traceback": None}


def end_early(task_id: str, result: object, seconds: float) -> None:
    """Tell that a task has ended well while its message goes on with others, which are shown as tasks of their own."""
    _ended.add(task_id)
    succeeded(task_id, result, seconds)


class ToldRequest(Request):
    """A message of which monitors are told as all of this module tells."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  # as in Celery
        if type in _ENDS and self.id in _ended:
            _ended.discard(self.id)
            return
        event, told = of_contract(type, fields)
        super().send_event(event, **told)


class Told:
    """A task that monitors are shown, though it came by no message."""

    def __init__(self) -> None:
        self.id = uuid()
        self.result: object = None


@contextmanager
def shown(task: str, root_id: str, **arguments: object) -> Iterator[Told]:
    """Show what is done in this block as a task of its own; an error of the contract fails it, and goes no further."""
    told, began = Told(), time.monotonic()
    tell(
        "task-received",
        told.id,
        name=task,
        args="()",
        kwargs=repr(arguments),
        root_id=root_id,
        parent_id=root_id,
        retries=0,
    )
    tell("task-started", told.id)
    try:
        yield told
    except DeploymentError as error:
        failed(told.id, error, time.monotonic() - began)
    except BaseException as error:
        failed(told.id, error, time.monotonic() - began)
        raise
    else:
        succeeded(told.id, told.result, time.monotonic() - began)
