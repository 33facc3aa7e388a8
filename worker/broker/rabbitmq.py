"""Kombu's transport for RabbitMQ, with the same slots and bounds as ours for Redis has.

RabbitMQ itself leases messages: one is its connection's until that is acknowledged or ends, so that a killed worker's
are given out again at once. What is left to do:

**Slots.** Celery has RabbitMQ keep to one limit for all queues together: pulls that stall would hold up the rest. Here
each queue has its own, which RabbitMQ knows as its consumer's `prefetch_count`.

**What is read** (`_Frames`). Of a message that is too long no more is kept than shows that; headers that no library can
read, or only by all of its stack, are left out. Raised in the event loop, as py-amqp does it, either would have the
message come again for ever. No body is decompressed.

**Confirmation.** RabbitMQ says that it has a message which is to last. Else one that is written to a connection which
ends just then would be lost.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import amqp
from amqp.method_framing import frame_handler
from kombu import Exchange
from kombu.transport import pyamqp

_HEADER, _BODY = 2, 3
_ANSWER_WITHIN = 10
"""Seconds; out of memory or disk space, RabbitMQ reads nothing from who publishes, and says so to nobody else."""


class Message(pyamqp.Message):
    """A message whose body stays as it came: one that is compressed may be a thousand times as long without."""

    def __init__(self, message: amqp.Message, channel: Any = None, **named: Any) -> None:
        (message.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(message, channel, **named)


class Channel(pyamqp.Channel):
    Message = Message
    connection: "Connection"

    def basic_consume(self, queue: str = "", *arguments: Any, **named: Any) -> Any:
        slots = self.connection.slots.get(queue)
        if slots is not None:
            # It holds for the consumers that begin after it.
            super().basic_qos(0, slots, False)
            named["callback"] = _as_from(queue, named["callback"])
        return super().basic_consume(queue, *arguments, **named)

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool, argsig: str = "lBb") -> None:
        if not self.connection.slots:
            super().basic_qos(prefetch_size, prefetch_count, a_global, argsig)

    def basic_publish(self, msg: amqp.Message, *arguments: Any, **named: Any) -> Any:
        if msg.properties.get("delivery_mode") != Exchange.PERSISTENT_DELIVERY_MODE:  # an event
            return super().basic_publish(msg, *arguments, **named)
        return self.basic_publish_confirm(msg, *arguments, **{"confirm_timeout": _ANSWER_WITHIN, **named})


def _as_from(queue: str, callback: Callable[[amqp.Message], object]) -> Callable[[amqp.Message], None]:
    """Where a message is from is not the sender's to say, who may know other exchanges: lanes go by it."""

    def deliver(message: amqp.Message) -> None:
        message.delivery_info |= {"exchange": "", "routing_key": queue}
        callback(message)

    return deliver


class Connection(pyamqp.Connection):
    Channel = Channel

    def __init__(self, *, slots: Mapping[str, int], message_bytes: int, **named: Any) -> None:
        self.slots = slots
        super().__init__(
            frame_handler=_Frames.reader(message_bytes),
            read_timeout=_ANSWER_WITHIN,
            write_timeout=_ANSWER_WITHIN,
            **named,
        )


class _Frames:
    """Gives py-amqp the frames of a connection, less those of a message that is too long."""

    def __init__(self, longest: int, handle: Callable[[tuple[int, int, bytes]], bool]) -> None:
        self._longest = longest
        self._handle = handle
        self._unread: dict[int, int] = {}
        """How many bytes of a body are yet to come on a channel."""
        self._wanted: dict[int, int] = {}
        """How many of them are to be kept."""

    @classmethod
    def reader(cls, longest: int) -> Callable[..., Callable[[tuple[int, int, bytes]], bool]]:
        """What py-amqp makes its handler of frames with."""
        return lambda connection, callback: cls(longest, frame_handler(connection, callback)).read

    def read(self, frame: tuple[int, int, bytes]) -> bool:
        """Whether this was a method's last frame."""
        kind, channel, content = frame
        if kind == _HEADER:
            return self._read_header(channel, content)
        if kind == _BODY and channel in self._unread:
            return self._read_body(channel, content)
        return self._handle(frame)

    def _read_header(self, channel: int, content: bytes) -> bool:
        (length,) = struct.unpack_from(">Q", content, 4)
        if length > self._longest:
            # One byte more than may be: the door (worker.consumer) refuses it.
            self._unread[channel], self._wanted[channel] = length, self._longest + 1
            content = content[:4] + struct.pack(">Q", self._longest + 1) + content[12:]
        try:
            return self._handle((_HEADER, channel, content))
        except (amqp.AMQPError, ArithmeticError, LookupError, RecursionError, ValueError, struct.error):
            return self._handle((_HEADER, channel, content[:12] + b"\0\0"))

    def _read_body(self, channel: int, content: bytes) -> bool:
        kept = content[: self._wanted[channel]]
        self._wanted[channel] -= len(kept)
        self._unread[channel] -= len(content)
        if self._unread[channel] <= 0:
            del self._unread[channel], self._wanted[channel]
        return self._handle((_BODY, channel, kept)) if kept else False


class Transport(pyamqp.Transport):
    Connection = Connection
    # Celery ends over it. RabbitMQ closes a channel so which has had a message for longer than its consumer_timeout.
    connection_errors = (*pyamqp.Transport.connection_errors, amqp.PreconditionFailed)
