"""What Flower and other monitors are told besides what Celery tells them of messages.

It goes by the dispatcher of this process' consumer, which sends many events at once, from whichever thread they come.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from celery.utils import uuid
from celery.worker.consumer import Consumer

from worker.errors import DeploymentError

_consumers: list[Consumer] = []


def connect(consumer: Consumer) -> None:
    """Tell by this consumer from now on."""
    _consumers[:] = [consumer]


def tell(event: str, task_id: str, **fields: object) -> None:
    """Tell of a task, if that can be done: no deployment is worth less for it."""
    for consumer in _consumers:
        # It gets another one with each new connection, and has none while it ends.
        if dispatcher := consumer.event_dispatcher:  # type: ignore[attr-defined]  # not in the stubs
            dispatcher.send(event, uuid=task_id, **fields)


class Told:
    """A task that monitors are shown, though it came by no message."""

    result: object = None


@contextmanager
def shown(task: str, root_id: str, **arguments: object) -> Iterator[Told]:
    """Show what is done in this block as a task of its own; an error of the contract fails it, and goes no further."""
    task_id, told = uuid(), Told()
    tell(
        "task-received",
        task_id,
        name=task,
        args="()",
        kwargs=repr(arguments),
        root_id=root_id,
        parent_id=root_id,
        retries=0,
    )
    tell("task-started", task_id)
    try:
        yield told
    except DeploymentError as error:
        tell("task-failed", task_id, exception=repr(error), traceback="")
    except BaseException as error:
        tell("task-failed", task_id, exception=repr(error), traceback="")
        raise
    else:
        tell("task-succeeded", task_id, result=repr(told.result), runtime=0)
