"""`dw events`: what all workers do, as it happens, from the events that Celery's monitors live on."""

import ast
import contextlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from celery.events.receiver import EventReceiver
from kombu.exceptions import KombuError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from rich.text import Text

from worker.celery import app
from worker.cli.output import err, out, show_json
from worker.orders import NUMBERED_TASKS
from worker.record import STEP_TASKS
from worker.store import deployments

_SHOWN_OF_STEPS = {"waiting", "retry"}
"""Beside their beginnings: the end of one that goes straight on is told when those after it have ended too."""
_OUTCOMES = re.compile(r"""['"](?:outcome|state)['"]: ['"]([^'"]*)['"]""")
_MOST_REMEMBERED = 10_000
_PAUSE = 0.5
_STYLES = {"failed": "bold red", "retried": "yellow", "live": "bold green", "online": "green", "offline": "yellow"}


@dataclass(frozen=True)
class Event:
    """Something that a worker has done."""

    time: str
    """ISO 8601, in UTC."""
    event: str
    """`received`, `started`, `succeeded`, `failed`, `retried`, `revoked`, `rejected` of a task; `online`, `offline`."""
    worker: str
    task: str | None = None
    """None where it was received before anybody listened."""
    id: str | None = None
    deployment_id: str | None = None
    stage: str | None = None
    outcome: str | None = None
    """What came of it: of a deployment `accepted`, and its state at its end; of a step `done`, `waiting`, `retry`."""
    seconds: float | None = None
    """How long it took: of a deployment since it was asked for."""
    message: str | None = None
    """Why it failed, or is tried again."""


@dataclass(frozen=True)
class _Task:
    name: str | None = None
    deployment_id: str | None = None
    stage: str | None = None
    started: float | None = None


class _NobodyReads(Exception):
    """Whoever read what is shown has seen enough: to `_listen` a broken pipe would be the broker's."""


class Stream:
    """What is told of tasks, put together from events that each tell a part."""

    def __init__(self, stage: str | None) -> None:
        self._stage = stage
        self._tasks: OrderedDict[str, _Task] = OrderedDict()

    def take(self, told: Mapping[str, Any]) -> Event | None:
        """What an event of Celery's means; None where it means nothing, or another stage."""
        kind, _, what = str(told["type"]).partition("-")
        event = Event(_moment(told), what, str(told["hostname"]))
        if kind == "worker":
            return event if what in {"online", "offline"} and not self._stage else None
        if kind != "task" or what == "sent":
            return None
        task = self._known(told, what)
        if self._stage not in {None, task.stage}:
            return None
        event = replace(event, task=task.name, id=told["uuid"], deployment_id=task.deployment_id, stage=task.stage)
        if what == "succeeded":
            return _succeeded(event, told, task)
        if what in {"failed", "retried", "revoked"}:
            return replace(event, message=told.get("exception"), seconds=_since(task, told))
        return event

    def _known(self, told: Mapping[str, Any], what: str) -> _Task:
        task_id = str(told["uuid"])
        task = self._tasks.pop(task_id, None) or _task(told)
        if what == "started":
            task = replace(task, started=float(told["timestamp"]))
        self._tasks[task_id] = task
        if len(self._tasks) > _MOST_REMEMBERED:
            self._tasks.popitem(last=False)
        return task


def run(stage: str | None, *, as_json: bool) -> None:
    """Show what happens until Ctrl-C; a lost broker is waited for, and what happened meanwhile is not told.

    Raises NoPermissionError where Redis denies it, and AuthenticationError where it refuses the login.
    """
    stream = Stream(stage)

    def heard(told: Mapping[str, Any]) -> None:
        event = stream.take(told)
        try:
            if event and as_json:
                show_json(asdict(event))
            elif event and _is_for_people(event):
                out().print(_line(event), soft_wrap=True)
        except BrokenPipeError as error:
            raise _NobodyReads from error

    with contextlib.suppress(KeyboardInterrupt):
        try:
            _listen(heard)
        except _NobodyReads as ended:
            raise BrokenPipeError from ended


def _listen(heard: Callable[[Mapping[str, Any]], None]) -> NoReturn:
    is_lost = False
    while True:
        try:
            with app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1)
                _Receiver(connection, handlers={"*": heard}, app=app).capture(limit=None, timeout=None)
        except NoPermissionError:
            raise
        except (RedisError, KombuError, OSError) as error:
            if isinstance(error.__cause__, AuthenticationError):
                raise error.__cause__ from None
            if not is_lost:
                err().print(f"the broker is lost ({' '.join(str(error).split())}); it is waited for", markup=False)
            is_lost = True
        else:
            is_lost = False
        time.sleep(_PAUSE)


class _Receiver(EventReceiver):
    """One that says when it listens, and leaves a lost connection to its caller."""

    connect_max_retries = 1

    def on_consume_ready(self, *arguments: Any, **named: Any) -> None:
        super().on_consume_ready(*arguments, **named)
        err().print("listening; Ctrl-C ends it", style="dim")

    def on_connection_error(self, *_: object) -> None:
        """The caller is told by an exception."""


def _task(told: Mapping[str, Any]) -> _Task:
    name, task_id = told.get("name"), str(told["uuid"])
    given = _value(told.get("kwargs"))
    arguments = given if isinstance(given, dict) else {}
    deployment_id = None
    if name in NUMBERED_TASKS:
        deployment_id = task_id
    elif name is None or name.startswith(STEP_TASKS):
        deployment_id = arguments.get("deployment_id") or told.get("root_id") or task_id
    if "project" in arguments and "stage" in arguments:
        stage: str | None = f"{arguments['project']}/{arguments['stage']}"
    else:
        stage = _stage_of(deployment_id) if deployment_id else None
    return _Task(name, deployment_id if name or stage else None, stage)


def _stage_of(deployment_id: str) -> str | None:
    try:
        return deployments().stage_of(deployment_id)
    except RedisError:
        return None


def _succeeded(event: Event, told: Mapping[str, Any], task: _Task) -> Event:
    # Celery cuts a long one short.
    shown = str(told.get("result"))
    named, result = event.deployment_id and _OUTCOMES.search(shown), _value(shown)
    outcome = result if isinstance(result, str) else named[1] if named else None
    message = str(result["error"]) if isinstance(result, dict) and result.get("error") else None
    outcome = "done" if outcome == "goes on" else outcome
    return replace(event, outcome=outcome, message=message, seconds=_since(task, told))


def _since(task: _Task, told: Mapping[str, Any]) -> float | None:
    if told.get("runtime") is not None:
        return round(float(told["runtime"]), 3)
    return None if task.started is None else round(float(told["timestamp"]) - task.started, 3)


def _value(text: object) -> object:
    """What JSON, or a `repr`, shows, where that can be told."""
    with contextlib.suppress(ValueError):
        return json.loads(str(text))
    try:
        return ast.literal_eval(str(text))
    except (ValueError, SyntaxError):
        return None


def _moment(told: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(float(told["timestamp"]), UTC).isoformat(timespec="milliseconds")


def _is_for_people(event: Event) -> bool:
    is_step = (event.task or "").startswith(STEP_TASKS)
    if event.event == "started":
        return is_step
    if event.event == "received":
        return event.task in NUMBERED_TASKS
    return not is_step or event.event != "succeeded" or event.outcome in _SHOWN_OF_STEPS


def _line(event: Event) -> Text:
    at = datetime.fromisoformat(event.time).astimezone()
    what = event.outcome or {"received": "asked for", "started": ""}.get(event.event, event.event)
    line = Text.assemble((f"{at:%H:%M:%S} ", "dim"))
    if event.stage:
        line.append(f"{event.stage} ", "bold")
    if event.deployment_id:
        line.append(f"{event.deployment_id[:8]} ", "dim")
    if event.task:
        line.append(event.task.removeprefix("docker.").removeprefix("deploy.") + " ")
    elif event.id is None:
        line.append(f"{event.worker} ")
    line.append(what, _STYLES.get(event.event) or _STYLES.get(what, "cyan"))
    if event.seconds is not None:
        line.append(f" {event.seconds:.2f} s", "dim")
    if event.message:
        line.append(f" {event.message}")
    line.rstrip()
    return line
