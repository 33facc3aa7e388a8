"""Which of the broker's messages get as far as a task: those for a task of ours, short, flat, and well formed.

Celery asks no more than that a task is registered. What it can't read it says in full, secrets and all; and what isn't
made as it expects, deep in a message, can cost it a slot for ever, or its connection.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeGuard

import structlog
from celery.utils.time import maybe_iso8601
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.message import Message
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from redis.exceptions import RedisError
from vine import promise

from worker import metrics
from worker.errors import SpecInvalid
from worker.newer import LEFT_FOR, leave_step, newer_are_there
from worker.record import STEP_TASKS
from worker.reference import short
from worker.refusal import DEEPEST, has_result, invalid, is_deeper, tell, too_long
from worker.settings import settings
from worker.signature import UNSIGNED_TASKS
from worker.spec import DeploymentId
from worker.traceparent import context_of
from worker.version import VERSION

log = structlog.get_logger()

_TOLD_WITHIN = 0.1
"""Seconds that an event waits for others to be sent with; it says itself when it was."""
_FARTHEST = timedelta(seconds=60)
"""How long a message may wait in a worker for its time; a retry waits for 30 s at most."""
_OURS = "docker."
_CELERYS_OWN = "celery."
"""Tasks that run other tasks, or whole workflows, for whoever asks."""
_SHOWN = ("project", "stage", "image", "container", "deployment_id", "network", "action", "to")
"""The arguments that logs, events and Flower show: what a message is about, and nothing that may be secret."""
_LONGEST = 1024
_CODINGS = {"", "utf-8", "utf8", "us-ascii", "ascii", "binary"}


def _check_time(text: str) -> str:
    _time_of(text)
    return text


def _check_eta(text: str) -> str:
    if _time_of(text) > datetime.now(UTC) + _FARTHEST:
        # It would have one of the few slots until then, and again after each restart.
        raise ValueError(f"is more than {_FARTHEST.total_seconds():g} s ahead: send it when it is due")
    return text


def _time_of(text: str) -> datetime:
    at = maybe_iso8601(text)
    if not isinstance(at, datetime):
        raise ValueError("is no time")  # noqa: TRY004  # pydantic wants this
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("is no time that could come") from None


Text = Annotated[str, Field(max_length=4096)]
Time = Annotated[Text, AfterValidator(_check_time)]
Eta = Annotated[Text, AfterValidator(_check_eta)]
Seconds = Annotated[float, Field(ge=0)] | None


class Headers(BaseModel):
    """The headers of Celery's message protocol 2 that mean something here; any other is dropped."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    task: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,255}$")]
    id: DeploymentId
    lang: Text | None = None
    root_id: Text | None = None
    parent_id: Text | None = None
    group: Text | None = None
    group_index: int | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    timelimit: tuple[Seconds, Seconds] | None = Field(default=None, strict=False)
    eta: Eta | None = None
    expires: Time | None = None
    ignore_result: bool | None = None
    origin: Text | None = None
    dw_signature: dict[str, str | int] | None = None
    traceparent: Annotated[str | None, BeforeValidator(context_of)] = None
    """The producer's trace; what is none is dropped, as W3C has it."""
    dw_needs: Annotated[int, Field(ge=1)] | None = None
    """What a worker must be able to read to do it right (`worker.version`)."""


_ID: TypeAdapter[str] = TypeAdapter(DeploymentId)
_BODY = TypeAdapter(tuple[list[Any], dict[str, Any], dict[str, Any] | None])


class ForNewer(Exception):
    """A message is for workers of a newer version of this code."""


class Consumer(CeleryConsumer):
    """Celery's consumer, with a door (setting `worker_consumer`), and with fewer messages to monitors."""

    hub: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._tells_at = 0.0
        if self.hub:
            # What is told while the worker ends.
            self.hub.on_close.add(self._tell)

    def on_send_event_buffered(self) -> Any:
        """Send what monitors are told with all that comes within a moment; any thread calls this for each event.

        Celery has its event loop send each by itself, which takes a good part of what a deployment does (Celery 5.7).
        """
        now = time.monotonic()
        if self.hub and now >= self._tells_at:
            self._tells_at = now + _TOLD_WITHIN
            self.hub.call_soon(self.hub.call_later, _TOLD_WITHIN, self._tell)

    def _tell(self, *_: object) -> None:
        self._flush_events()  # type: ignore[attr-defined]  # not in the stubs

    def create_task_handler(self, promise: Any = promise) -> Callable[[Message], Any]:
        handle = super().create_task_handler(promise)

        def on_task_received(message: Message) -> Any:
            try:
                admit(message, self.strategies)  # type: ignore[attr-defined]  # not in the stubs
            except SpecInvalid as error:
                return self._refuse(message, error)
            except ForNewer:
                return self._leave(message)
            return handle(message)

        return on_task_received

    def stop(self) -> None:
        # From all queues at once: Celery leaves one after the other, each of which takes up to a second to be left.
        channel: Any = getattr(getattr(self, "task_consumer", None), "channel", None)
        if hasattr(channel, "take_no_more"):  # RabbitMQ's has no need of it
            channel.take_no_more()
        super().stop()

    def _leave(self, message: Message) -> None:
        task, task_id = message.headers["task"], message.headers["id"]
        log.info("message_left_to_newer_workers", task=task, id=task_id)
        if _is_step(task):
            # It decides nothing: the record has the step sent anew.
            leave_step(_read(message)[1].get("deployment_id"))
            message.ack_log_error(log, self.connection_errors)  # type: ignore[attr-defined]  # not in the stubs
            return
        # Not at once: with no more than older workers free, it would go round and round between them.
        self.timer.call_after(LEFT_FOR, message.requeue)

    def _refuse(self, message: Message, error: SpecInvalid) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        task_id = headers.get("id")
        log.warning(
            "message_refused", task=ascii(headers.get("task"))[:128], id=ascii(task_id)[:128], error=error.message
        )
        metrics.message_refused()
        if _is_id(task_id):
            tell(task_id, error)
        message.ack_log_error(log, self.connection_errors)  # type: ignore[attr-defined]  # not in the stubs


def admit(message: Message, tasks: Mapping[str, object]) -> None:
    """See that a message can be given to one of these tasks, and leave in it nothing but what is for that.

    Raises SpecInvalid; ForNewer.
    """
    body = _read(message)
    if not isinstance(message.headers, dict):
        raise invalid("its headers are no object: write it as Celery does")
    if isinstance(body, dict) and "task" not in message.headers:
        # Protocol 1, in which some clients of other languages still write.
        message.headers = {name: value for name, value in body.items() if name not in {"args", "kwargs"}}
        body = [body.get("args", []), body.get("kwargs", {}), {}]
        message.body = json.dumps(body)
    try:
        headers = Headers.model_validate(message.headers)
        _BODY.validate_python(body, strict=False)
    except ValidationError as error:
        wrong = {".".join(str(part) for part in problem["loc"]): problem["msg"] for problem in error.errors()}
        raise invalid(
            f"{'; '.join(f'{place}: {what}' for place, what in wrong.items())}: write it as Celery does"
        ) from None
    if any((body[2] or {}).values()):
        # Celery would do what it says behind this door: run a task in this process, store an error under any id.
        raise invalid("it brings a workflow (callbacks, a chain, a chord): send each task in a message of its own")
    if is_for_newer(headers, tasks):
        raise ForNewer
    if (headers.dw_needs or 1) > VERSION:
        raise invalid(f"it needs workers of version {headers.dw_needs}: upgrade them before what sends such messages")
    if headers.task.startswith(_CELERYS_OWN) or headers.task not in tasks:
        raise SpecInvalid(f"There is no task {headers.task}: ask for one of the contract.", {"step": "accept"})
    shown = {name: value for name, value in body[1].items() if name in _SHOWN}
    # Nothing of it is Celery's to act on that isn't checked here: what the body embeds is none of the above.
    message.body = json.dumps([body[0], body[1], {}])
    kept: dict[str, Any] = {
        **headers.model_dump(exclude_unset=True, exclude_none=True),
        "argsrepr": title(shown)[:_LONGEST],
        "kwargsrepr": repr(shown)[:_LONGEST],
    }
    if headers.task in UNSIGNED_TASKS and not headers.dw_signature and settings().require_signature:
        # Who asks may be nobody: a result would be stored under any id.
        kept["ignore_result"] = True
    if headers.expires and _may_have_result(headers.id):
        # Celery would store that it has expired over the result.
        del kept["expires"]
    message.headers = kept


def title(shown: Mapping[str, object]) -> str:
    """What lists call a message: `shop/staging acme/shop:1.4.2`. Ours have no positional arguments to be shown."""
    texts = {name: value for name, value in shown.items() if isinstance(value, str)}
    where = "/".join(texts.pop(name) for name in ("project", "stage") if name in texts)
    if "image" in texts:
        texts["image"] = short(texts["image"])
    return " ".join(filter(None, [where, *texts.values()]))


def is_for_newer(headers: Headers, tasks: Mapping[str, object]) -> bool:
    """Whether a newer version of this code may know more of a message, and has workers to take it.

    A step that isn't known is always one of theirs, as only workers send steps.
    """
    is_unknown = headers.task not in tasks and headers.task.startswith(_OURS)
    if not is_unknown and (headers.dw_needs or 1) <= VERSION:
        return False
    return (is_unknown and _is_step(headers.task)) or newer_are_there()


def _is_step(task: str) -> bool:
    return task.startswith(STEP_TASKS)


def _may_have_result(task_id: str) -> bool:
    try:
        return has_result(task_id)
    except (RedisError, RuntimeError):
        return True


def _is_id(value: object) -> TypeGuard[str]:
    """Whether anybody can ask for a result under this: where it can't be a key, Celery raises what would end us."""
    try:
        _ID.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _read(message: Message) -> Any:
    body = message.body or ""
    if len(body) > settings().message_bytes:
        raise too_long()
    if message.content_type != "application/json" or str(message.content_encoding or "").lower() not in _CODINGS:
        raise invalid("it isn't JSON in UTF-8: send it as application/json")
    try:
        # Of bytes, json would take UTF-16 as well, and kombu doesn't.
        read = json.loads(body if isinstance(body, str) else body.decode())
    except (ValueError, RecursionError):
        raise invalid("it can't be read: send JSON, uncompressed") from None
    if is_deeper(read, DEEPEST):
        raise invalid(f"it is more than {DEEPEST} lists or objects deep: send what the task asks for")
    if _makes_objects(read):
        raise invalid("it has objects that kombu would make something else of (__type__): send plain JSON")
    return read


def _makes_objects(value: object) -> bool:
    if isinstance(value, dict):
        return "__type__" in value or any(map(_makes_objects, value.values()))
    return isinstance(value, list) and any(map(_makes_objects, value))
