"""Which of the broker's messages get as far as a task: those for a task of ours, short, flat, and well formed.

Celery asks no more than that a task is registered. What it can't read it says in full, secrets and all; and what isn't
made as it expects, deep in a message, can cost it a slot for ever, or its connection.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import structlog
from celery.utils.time import maybe_iso8601
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.message import Message
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from vine import promise

from worker.errors import SpecInvalid
from worker.refusal import invalid, tell, too_long
from worker.settings import settings
from worker.spec import DeploymentId

log = structlog.get_logger()

_DEEPEST = 16
"""How deep lists and objects may be in each other; no task has use for more than 5."""
_CELERYS_OWN = "celery."
"""Tasks that run other tasks, or whole workflows, for whoever asks."""
_SHOWN = ("project", "stage", "image", "container", "deployment_id", "network", "action")
"""The arguments that logs, events and Flower show: what a message is about, and nothing that may be secret."""
_LONGEST = 1024
_CODINGS = {None, "", "utf-8", "utf8", "us-ascii", "ascii", "binary"}


def _check_time(text: str) -> str:
    maybe_iso8601(text)
    return text


Text = Annotated[str, Field(max_length=4096)]
Time = Annotated[Text, AfterValidator(_check_time)]
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
    retries: Annotated[int, Field(ge=0)] = 0
    timelimit: tuple[Seconds, Seconds] | None = Field(default=None, strict=False)
    eta: Time | None = None
    expires: Time | None = None
    ignore_result: bool | None = None
    origin: Text | None = None
    shadow: Text | None = None
    dw_signature: dict[str, str | int] | None = None


class Embedded(BaseModel):
    """What Celery's own workflows have in a message beside the arguments."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: list[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


_BODY = TypeAdapter(tuple[list[Any], dict[str, Any], Embedded | None])


class Consumer(CeleryConsumer):
    """Celery's consumer, with a door (setting `worker_consumer`)."""

    def create_task_handler(self, promise: Any = promise) -> Callable[[Message], Any]:
        handle = super().create_task_handler(promise)

        def on_task_received(message: Message) -> Any:
            try:
                admit(message, self.strategies)  # type: ignore[attr-defined]  # not in the stubs
            except SpecInvalid as error:
                return self._refuse(message, error)
            return handle(message)

        return on_task_received

    def _refuse(self, message: Message, error: SpecInvalid) -> None:
        name, task_id = (str(message.headers.get(each))[:128] for each in ("task", "id"))
        log.warning("message_refused", task=name, id=task_id, error=error.message)
        tell(task_id, error)
        message.ack_log_error(log, self.connection_errors)  # type: ignore[attr-defined]  # not in the stubs


def admit(message: Message, tasks: Mapping[str, object]) -> None:
    """See that a message can be given to one of these tasks, and leave in it nothing but what is for that.

    Raises SpecInvalid.
    """
    body = _read(message)
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
    if headers.task.startswith(_CELERYS_OWN) or headers.task not in tasks:
        raise SpecInvalid(f"There is no task {headers.task}: ask for one of the contract.", {"step": "accept"})
    shown = {name: value for name, value in body[1].items() if name in _SHOWN}
    message.headers = {**headers.model_dump(exclude_unset=True), "argsrepr": "()", "kwargsrepr": repr(shown)[:_LONGEST]}


def _read(message: Message) -> Any:
    body = message.body or ""
    if len(body) > settings().message_bytes:
        raise too_long(len(body))
    if message.content_type != "application/json" or (message.content_encoding or "").lower() not in _CODINGS:
        raise invalid("it isn't JSON in UTF-8: send it as application/json")
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("it can't be read: send JSON, uncompressed") from None
    if _is_deeper(read, _DEEPEST):
        raise invalid(f"it is more than {_DEEPEST} lists or objects deep: send what the task asks for")
    return read


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
