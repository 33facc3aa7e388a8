"""Logs are events with fields, on standard error: for people (`console`) or for machines (`json`).

A line of a deployment has its id, project and stage, and that of a step also the step, its attempt and the host that it
is for. They are bound once, by who begins with it, and are on all lines until it ends, those of libraries too.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from worker.orders import NUMBERED_TASKS

_LONGEST = 255
"""Characters of what a message says of itself."""
_OF_CELERY = {"name": "task", "id": "id"}
_SAID_AGAIN_AFTER = 60.0


def _fields_of_celery(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Celery puts what it tells of a task into its sentence, and beside it for who asks.
    told = getattr(event.get("_record"), "data", None)
    if isinstance(told, Mapping):
        for name, called in _OF_CELERY.items():
            event.setdefault(called, told.get(name))
        if told.get("name") in NUMBERED_TASKS:
            event.setdefault("deployment", told.get("id"))
    return event


_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(log_format: str, level: int = logging.INFO, *, host: str) -> None:
    """Send structlog's and the standard library's records, Celery's among them, through one formatter.

    So are warnings, and the traceback of what ends a thread or the process. `host` is on each line.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )

    def add_host(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("host", host)
        return event

    shared = (*_SHARED, add_host)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=(*shared, _fields_of_celery),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _say_uncaught
    threading.excepthook = _say_uncaught_in_thread
    # The Docker SDK and urllib3 say at DEBUG what they send, registry tokens among it; Celery's pool, all arguments.
    for noisy in ("docker", "urllib3", "celery.pool"):
        logging.getLogger(noisy).setLevel(logging.INFO)


class RepeatedWarning:
    """What a loop finds each time round while Redis or the engine is away.

    It is said when it begins or changes and then once a minute: a night without an engine is not to fill a disk.
    """

    def __init__(self, log: Any, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._event = event
        self._clock = clock
        self._said: Mapping[str, object] | None = None
        self._said_at = 0.0

    def say(self, **told: object) -> None:
        """Warn, unless the same was said within the last minute and has gone on since."""
        if told != self._said or self._clock() - self._said_at >= _SAID_AGAIN_AFTER:
            self._log.warning(self._event, **told)
            self._said, self._said_at = told, self._clock()

    def over(self) -> None:
        """Note that all is well again."""
        self._said = None


@task_prerun.connect
def _bind(task_id: str, task: Any, kwargs: Mapping[str, object], **_: object) -> None:
    # Each thread does one task at a time; what it says of it is about that.
    told = {"deployment": kwargs.get("deployment_id"), "project": kwargs.get("project"), "stage": kwargs.get("stage")}
    if task.name in NUMBERED_TASKS:
        told["deployment"] = task_id
    known = {name: value[:_LONGEST] for name, value in told.items() if isinstance(value, str)}
    structlog.contextvars.bind_contextvars(task=task.name, id=task_id, **known)


@task_postrun.connect
def _unbind(**_: object) -> None:
    structlog.contextvars.clear_contextvars()


def _say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("uncaught", exc_info=(kind, error, trace))


def _say_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit and ended.exc_value is not None:
        thread = ended.thread.name if ended.thread else None
        structlog.get_logger().critical("uncaught", thread=thread, exc_info=ended.exc_value)
