"""Asking workers for something: what is sent, how far it is, and what came of it.

Whoever asks needs no worker's settings: a Redis, and where messages are signed a key. `worker.client` is the face of
this for other programs, `dw` another one.

Results are looked up by their id. Celery's own result objects subscribe to each of them, until somebody has read it;
and, kept alive by an error's traceback, they fail loudly when the interpreter ends.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celery import Celery
from celery.states import PENDING, READY_STATES, REVOKED
from kombu import Queue
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from worker import address
from worker.address import SHARED_QUEUE
from worker.errors import DeploymentError, Unanswered
from worker.traceparent import HEADER, own_context
from worker.version import needed

Sign = Callable[[str, str, Mapping[str, object]], Mapping[str, object] | None]
"""Makes the signature of a task, an id and arguments (`worker.signature`)."""

_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.05
LOST_AFTER = {"socket_timeout": 10, "socket_connect_timeout": 5}
"""Seconds that a Redis may take to answer, and to take a connection: one that hangs would be waited for without end."""
_ONCE_MORE = {"max_retries": 1, "interval_start": 0}
"""A connection that was kept may have ended with a RabbitMQ that is back by now: who sends learns it only then."""
TAKEN_WITHIN = 30
"""Seconds after which something that no worker has begun with is told as such."""


class Calls:
    """What is asked of the workers of one Redis; threads may share it."""

    def __init__(
        self,
        redis_url: str,
        *,
        broker_url: str | None = None,
        result_backend: str | None = None,
        sign: Sign | None = None,
    ) -> None:
        """Raises ValueError where an address is wrong; connects to nothing yet."""
        address.checked(redis_url)
        address.checked_broker(broker_url or redis_url)
        self._broker = ("The broker", "DW_BROKER_URL") if broker_url else ("Redis", "DW_REDIS_URL")
        self._sign = sign
        # Without Celery's own fix-ups: they are for a Django program's own app, and import what makes up a worker.
        self._app = Celery("docker-watcher-client", set_as_current=False, fixups=[])
        self._app.conf.update(address.connections(broker_url or redis_url, result_backend or redis_url))
        self._app.conf.update({f"redis_{name}": seconds for name, seconds in LOST_AFTER.items()})
        options: dict[str, object] = {**address.PATIENCE}
        self._is_redis = (broker_url or redis_url).startswith("redis")
        if self._is_redis:
            options |= LOST_AFTER
        else:
            # Which has the broker say that it has a message.
            self._app.conf.broker_transport = "worker.broker.rabbitmq:Transport"
            options |= {"slots": {}, "message_bytes": 2**20}
        self._app.conf.broker_transport_options = options

    def close(self) -> None:
        """Close the connections; what was asked for goes on."""
        self._app.close()

    def send(
        self,
        task: str,
        arguments: Mapping[str, object],
        *,
        queue: str = SHARED_QUEUE,
        task_id: str | None = None,
        expires: float | None = None,
    ) -> str:
        """Enqueue a task, less arguments that are None, and return its id.

        Under an id that was sent before it is done once. After `expires` seconds no worker takes it any more.

        Raises Unanswered.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        task_id = task_id or str(uuid.uuid4())
        headers: dict[str, object] = {"dw_needs": needed(given)}
        if self._sign and (signature := self._sign(task, task_id, given)):
            headers["dw_signature"] = signature
        if context := own_context():
            headers[HEADER] = context
        message = self._app.amqp.create_task_message(task_id, task, kwargs=given, expires=expires, ignore_result=None)
        try:
            with self._app.producer_or_acquire() as producer:
                self._app.amqp.send_task_message(
                    producer,
                    task,
                    message,
                    queue=Queue(queue, routing_key=queue),
                    headers=headers,
                    retry=not self._is_redis,
                    retry_policy=_ONCE_MORE,
                )
        except (OperationalError, RedisError, OSError) as error:
            broker, setting = self._broker
            if isinstance(error.__cause__ or error, AuthenticationError | NoPermissionError):
                reason = f"{broker} refuses to take {task} ({_line(error)}): check user and password in {setting}."
                raise Unanswered(reason) from None
            raise Unanswered(f"{broker} can't be reached to send {task} ({_line(error)}): check {setting}.") from None
        return task_id

    def ask(self, task: str, arguments: Mapping[str, object], patience: float) -> Any:
        """Run a task on a worker and return its result.

        Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
        """
        return self.answer(self.send(task, arguments), task, patience)

    def answer(self, task_id: str, task: str, patience: float | None) -> Any:
        """Wait for the result of a task that was sent.

        Raises the task's DeploymentError, or Unanswered if none has come after `patience` seconds.
        """
        if not self.has_ended_within(task_id, patience):
            raise self._unanswered(task_id, task, patience or 0)
        return self.outcome(task_id)

    def has_ended_within(self, task_id: str, patience: float | None) -> bool:
        """Wait for a task's end, `patience` seconds at the most.

        Raises Unanswered where Redis is lost.
        """
        give_up_at = None if patience is None else time.monotonic() + patience
        for pause in _pauses():
            if self._meta(task_id)["status"] in READY_STATES:
                return True
            if give_up_at is not None and time.monotonic() > give_up_at:
                return False
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def follow(self, task_id: str, task: str, patience: float = TAKEN_WITHIN) -> Iterator[dict[str, Any]]:
        """Yield the progress of what a stage was asked for whenever it changes, until it has ended.

        Raises Unanswered where no worker takes it within `patience` seconds, or Redis is lost on the way.
        """
        seen: dict[str, Any] | None = None
        give_up_at = time.monotonic() + patience
        while (meta := self._meta(task_id))["status"] not in READY_STATES:
            if meta["status"] == PENDING and time.monotonic() > give_up_at:
                raise self._unanswered(task_id, task, patience)
            told = meta["result"]
            if isinstance(told, dict) and "step" in told and told != seen:
                seen = told
                yield told
            time.sleep(_LONGEST_PAUSE)

    def outcome(self, task_id: str) -> Any:
        """The result of a task that has ended.

        Raises its DeploymentError, or Unanswered where its message has expired.
        """
        meta = self._meta(task_id)
        result = meta["result"]
        if meta["status"] == REVOKED:
            raise Unanswered(f"No worker took {task_id} before it expired: ask again once one runs.")
        if isinstance(result, BaseException):
            raise result if isinstance(result, DeploymentError) else _of_the_contract(result)
        return result

    def _unanswered(self, task_id: str, task: str, patience: float) -> Unanswered:
        meta = self._meta(task_id)
        last = meta["result"]
        if isinstance(last, DeploymentError):  # the state is RETRY
            return Unanswered(f"{task} has not succeeded within {patience:g} s and is tried again: {last.message}")
        if isinstance(last, dict) and "step" in last:
            return Unanswered(f"{task} has not ended within {patience:g} s and goes on: it is at step {last['step']}.")
        return Unanswered(
            f"No worker has answered {task} within {patience:g} s, and it is done once one takes it from the queue: "
            "see that one runs (`celery -A worker worker`) and uses the same DW_REDIS_URL and DW_NAMESPACE."
        )

    def _meta(self, task_id: str) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = self._app.backend.get_task_meta(task_id)
        except (RedisError, RuntimeError) as error:
            raise Unanswered(
                f"Redis was lost while {task_id} was awaited ({_line(error)}): what was enqueued goes on once it is "
                "back."
            ) from None
        return meta


def _pauses() -> Iterator[float]:
    """Short ones first: most answers are there in a few hundredths of a second."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _of_the_contract(error: BaseException) -> DeploymentError:
    """What Celery makes of an error whose name isn't known to this version of the code: a newer one has it."""
    message, facts = error.args if len(error.args) == 2 else (str(error), {})  # noqa: PLR2004  # as ours have them
    return DeploymentError.from_json(json.dumps({"type": type(error).__name__, "message": message, "facts": facts}))


def _line(error: Exception) -> str:
    # Celery's result backend says only that it has tried often enough, and a timeout nothing at all.
    return " ".join(str(error.__cause__ or error).split()) or "no answer"
