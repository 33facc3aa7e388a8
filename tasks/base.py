"""The base of all tasks: arguments checked, errors of the contract, transient ones tried again.

A task of the contract is a plain function from checked arguments to a result, registered by `operation`:

    class Arguments(worker.spec.Arguments): ...
    class Result(tasks.base.Result): ...

    @operation("docker.stop")
    def stop(arguments: Arguments) -> Result: ...

Messages are acknowledged late, so each function says in its docstring what a second run does.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from celery import Task
from pydantic import BaseModel, ConfigDict

from worker.celery import app
from worker.errors import DeploymentError, SpecInvalid, Transient
from worker.spec import Arguments, parse

log = structlog.get_logger()


class Result(BaseModel):
    """The base of all results."""

    model_config = ConfigDict(frozen=True)


class Operation(Task):  # type: ignore[type-arg]  # celery-types makes Task generic; at run time it isn't
    """What all tasks share. Celery swallows a misspelt option in silence, so they are stated once, here."""

    abstract = True
    acks_late = True
    throws = (DeploymentError,)
    autoretry_for = (Transient,)
    max_retries = 4
    # 1, 2, 4, 8 s, each times a random factor below 1.
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True
    # Celery's own check of arguments would fail at the sender, with a TypeError.
    typing = False


A = TypeVar("A", bound=Arguments)
R = TypeVar("R", bound=Result)


def operation(name: str, **options: Any) -> Callable[[Callable[[A], R]], Callable[[A], R]]:
    """Register a function as a task of the contract; the function itself stays callable without Celery."""

    def register(function: Callable[[A], R]) -> Callable[[A], R]:
        model: type[A] = inspect.signature(function).parameters["arguments"].annotation

        @app.task(name=name, base=Operation, **options)
        def run(*positional: object, **named: object) -> dict[str, Any]:
            return function(checked(model, name, positional, named)).model_dump(mode="json")

        return function

    return register


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
