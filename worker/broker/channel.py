"""Kombu's channel and transport, with an intake for each queue that has slots."""

import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from worker.broker.intake import Intake
from worker.broker.leases import QoS


class Message(virtual.Message):
    """A message whose body stays as it came: one that is compressed may be a thousand times as long without."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **named: Any) -> None:
        headers = {name: value for name, value in (payload.get("headers") or {}).items() if name != "compression"}
        super().__init__({**payload, "headers": headers}, channel, **named)


class Channel(kombu_redis.Channel):
    Message = Message
    QoS = QoS
    # Not kombu's own names: other Celery workers on the same database don't renew, nor should they judge our leases.
    unacked_key = "dw.unacked"
    unacked_index_key = "dw.unacked_index"
    unacked_mutex_key = "dw.unacked_mutex"
    unreadable_key = "dw.unreadable"

    slots: Mapping[str, int] = {}
    numbered: Sequence[str | int] = ()
    """What the key of a message's number begins with, the counter's key, seconds to keep the number, and the tasks
    whose messages are numbered as they leave their queue; one that comes again keeps its number."""
    message_bytes = 2**20
    """The longest message that leaves its queue; a longer one is thrown away."""
    from_transport_options = (*kombu_redis.Channel.from_transport_options, "slots", "numbered", "message_bytes")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._intakes: dict[str, Intake] = {}
        self._bell: _Bell | None = None
        self._kept_client: redis.Redis | None = None
        super().__init__(*arguments, **named)

    def basic_consume(self, queue: str, *arguments: Any, **named: Any) -> Any:
        consumer = super().basic_consume(queue, *arguments, **named)
        if queue in self.slots and queue not in self._intakes:
            self._bell = self._bell or _Bell(self)
            self.qos.keep_renewing()  # type: ignore[attr-defined]  # the one above
            self._intakes[queue] = Intake(self, queue, self.slots[queue])
            self._intakes[queue].start()
        return consumer

    def _basic_cancel(self, consumer_tag: str) -> Any:
        self._stop_intakes(self._tag_to_queue.get(consumer_tag))
        return super()._basic_cancel(consumer_tag)  # type: ignore[misc]  # not in the stubs

    def close(self) -> None:
        self._stop_intakes(*self._intakes)
        if self._bell:
            self._bell.close()
        super().close()

    def take_no_more(self) -> None:
        """Have all intakes begin to end; what they have taken goes back. Called by the thread that fetches."""
        for intake in self._intakes.values():
            intake.stop()

    def takes_messages(self) -> bool:
        """Whether it is a worker's: where queues have slots, only that one takes any from them."""
        return bool(self._intakes) or not self.slots

    def handed_over(self) -> list[str]:
        """The tags of what the intakes have taken and the event loop has not fetched."""
        return [tag for intake in list(self._intakes.values()) for tag in intake.tags()]

    def lists(self, queue: str) -> list[str]:
        """Where a queue's messages are, by their priority; most have none, and are in the first."""
        return [self._q_for_pri(queue, each) for each in self.priority_steps]  # type: ignore[attr-defined]  # as below

    def own_pool(self, **parameters: Any) -> redis.ConnectionPool:
        """Connections for a thread that may wait on one, with these parameters besides the usual ones."""
        return redis.ConnectionPool(**{**self._connparams(), **parameters})

    def in_work(self, queue: str) -> int:
        qos: QoS = self.qos  # type: ignore[assignment]  # the one above
        return qos.in_work(queue)

    def slot_is_free(self) -> None:
        """Have full queues asked anew; called by whichever thread has ended its work."""
        for intake in list(self._intakes.values()):
            intake.look_again()

    def ring(self) -> None:
        """Have the event loop fetch what was taken."""
        if self._bell:
            self._bell.ring()

    def fetch(self) -> None:
        for intake in list(self._intakes.values()):
            intake.fetch(self.connection._deliver)  # noqa: SLF001  # as kombu's own channel does

    def _stop_intakes(self, *queues: str | None) -> None:
        stopped = [self._intakes[queue] for queue in queues if queue in self._intakes]
        for intake in stopped:
            intake.stop()
        for intake in stopped:
            intake.join()
        self._intakes = {queue: intake for queue, intake in self._intakes.items() if intake not in stopped}

    def _create_client(self, asynchronous: bool = False) -> redis.Redis:
        # Kombu makes one for each acknowledgement, which takes longer than the acknowledgement. Threads may share one.
        if asynchronous:
            return cast("redis.Redis", super()._create_client(asynchronous))  # type: ignore[misc]  # not in the stubs
        kept = self._kept_client
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept_client = super()._create_client()  # type: ignore[misc]  # as above
        return kept

    def _update_queue_cycle(self) -> None:
        # What kombu itself is to pop.
        mine = [queue for queue in self.active_queues if queue not in self.slots]
        self._queue_cycle.update(mine)  # type: ignore[attr-defined]  # not in the stubs

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection to the broker is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        return parameters


class _Bell:
    """Wakes the event loop, to whose poller it is one more socket of the channel."""

    _TYPE = "BELL"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._poller = cast("Any", channel.connection.cycle)
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)
        channel.handlers[self._TYPE] = self._heard
        # From here kombu adds it to Celery's event loop; the next line is for a loop of kombu's own.
        self._poller._fd_to_chan[self._ear.fileno()] = (channel, self._TYPE)  # noqa: SLF001  # there is no public way
        self._poller.poller.register(self._ear.fileno(), self._poller.eventflags)

    def ring(self) -> None:
        # Enough unheard rings fill the socket: the loop will wake. It may also be closed by now.
        with contextlib.suppress(OSError):
            self._hammer.send(b"!")

    def close(self) -> None:
        if self._ear.fileno() < 0:
            return
        self._poller._fd_to_chan.pop(self._ear.fileno(), None)  # noqa: SLF001  # see above
        self._poller._unregister_from_poll(self._ear.fileno())  # noqa: SLF001  # see above
        self._ear.close()
        self._hammer.close()

    def _heard(self) -> None:
        # Silenced first: what comes while the rest is fetched rings again.
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4096)
        self._channel.fetch()


class Transport(kombu_redis.Transport):
    Channel = Channel
