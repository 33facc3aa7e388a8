"""Kombu's Redis transport, for workers that acknowledge late, work for long, and are killed.

**Leases.** Kombu gives a message out again once it was given out `visibility_timeout` seconds ago and is not
acknowledged (kombu 5.7, `QoS.restore_visible`): ten minutes make a killed worker's message late, and ten seconds
double one that is still in work. Here those seconds are a lease, and whoever holds the message renews it. What a worker
has in work when it loses its Redis still runs beside a copy: the connection that could acknowledge it is gone.

**Slots.** A queue can have so many slots in each worker (transport option `slots`): while that many of its messages are
in work, no more are taken from it. So those of one queue, however slow, hold up none of another, and what can't be done
here at once stays in the queue for a worker that can. Kombu by itself knows one limit for all (`prefetch_count`).

**A lost connection.** Celery closes it and then has its channel give back the messages in work; that channel asks its
connection, which is gone, for parameters (kombu 5.7: `AttributeError: 'NoneType' object has no attribute 'hostname'`).
Celery takes any error but a connection's for fatal, and the worker exits. Said as what it is, it has Celery reconnect.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import redis
import structlog
from kombu.transport import redis as kombu_redis
from kombu.utils.scheduling import round_robin_cycle

log = structlog.get_logger()

_RENEWALS_PER_LEASE = 3
_LONGEST_DETOUR = 0.05
"""Seconds that a queue is not asked at the most after a slot of it has become free, if the word of that is missed."""


class QoS(kombu_redis.QoS):
    """What a channel has received and not acknowledged, each message under a lease.

    Leases are renewed by a thread, and not by a timer of the event loop: that stands still while a worker that was
    told to end waits for its tasks. They are counted by Redis' clock, so that hosts' clocks may differ.
    """

    channel: "Channel"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._closed = threading.Event()
        self._renewing = threading.Thread(target=self._renew_until_closed, name="message leases", daemon=True)

    @property
    def visibility_timeout(self) -> float:  # type: ignore[override]  # kombu only reads it, from a cached property
        """Seconds that kombu takes off this host's clock to see which leases have ended: one lease, by Redis' clock."""
        with self.channel.conn_or_acquire() as client:
            return self._lease + time.time() - _now(client)

    def append(self, message: Any, delivery_tag: str) -> None:
        super().append(message, delivery_tag)
        # Until here its lease is by this host's clock, as kombu has it.
        self.renew([delivery_tag])
        if self._renewing.ident is None:
            self._renewing.start()

    def renew(self, tags: list[str]) -> None:
        """Have these leases begin now; what is acknowledged meanwhile stays so."""
        with self.channel.conn_or_acquire() as client:
            client.zadd(self.unacked_index_key, dict.fromkeys(tags, _now(client)), xx=True)

    def ack(self, delivery_tag: str) -> None:
        super().ack(delivery_tag)
        self.channel.slot_is_free()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().reject(delivery_tag, requeue)
        self.channel.slot_is_free()

    def in_work(self) -> Counter[str]:
        """How many messages of each queue are in work; those that wait for a retry's time are not."""
        delivered: Mapping[str, Any] = self._delivered or {}
        messages = [delivered.get(tag) for tag in self._held()]
        return Counter(each.delivery_info["routing_key"] for each in messages if each and not each.headers.get("eta"))

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give everything back, as kombu has it when a channel closes."""
        self._closed.set()
        super().restore_unacked_once(stderr)

    @property
    def _lease(self) -> float:
        return self.channel.visibility_timeout

    def _renew_until_closed(self) -> None:
        while not self._closed.wait(self._lease / _RENEWALS_PER_LEASE):
            try:
                if held := self._held():
                    self.renew(held)
            except (redis.RedisError, OSError) as error:
                log.warning("message_leases_not_renewed", error=str(error))

    def _held(self) -> list[str]:
        # What is given back stays in `_delivered` until the next message comes, and may be another worker's by now:
        # a message keeps its tag. To list a dict's keys is one step to other threads.
        dirty = self._dirty or ()
        return [tag for tag in list(self._delivered or ()) if tag not in dirty]


def _now(client: redis.Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1_000_000)


class Channel(kombu_redis.Channel):
    QoS = QoS
    # Not kombu's own names: other Celery workers on the same database don't renew, nor should they judge our leases.
    unacked_key = "dw.unacked"
    unacked_index_key = "dw.unacked_index"
    unacked_mutex_key = "dw.unacked_mutex"

    slots: Mapping[str, int] = {}
    from_transport_options = (*kombu_redis.Channel.from_transport_options, "slots")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._queue_cycle = _OpenQueues(self)
        self._asker: int | None = None
        """Redis' name for the connection that waits for messages, while it leaves queues out that are full."""

    def full_queues(self) -> set[str]:
        """The queues whose slots are all taken."""
        qos: QoS = self.qos  # type: ignore[assignment]  # the one above
        in_work = qos.in_work() if self.slots else Counter[str]()
        return {queue for queue, count in self.slots.items() if in_work[queue] >= count}

    def slot_is_free(self) -> None:
        """Have queues asked anew that were left out; called by whichever thread has ended its work."""
        if self._asker is not None:
            with self.conn_or_acquire() as client:
                client.client_unblock(self._asker)

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._asker = None
        if self.full_queues():
            # Nothing else is under way on this connection: it is about to ask.
            self.client.connection.send_command("CLIENT", "ID")
            self._asker = self.client.connection.read_response()
            timeout = _LONGEST_DETOUR
        super()._brpop_start(timeout)  # type: ignore[misc]  # not in the stubs

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection to the broker is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        return parameters


class _OpenQueues(round_robin_cycle):  # type: ignore[type-arg]  # generic in the stubs only
    """The order in which a channel's queues are asked, less the full ones."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def consume(self, n: int) -> list[str]:  # type: ignore[override]  # kombu's is a list too, whatever the stubs say
        full = self._channel.full_queues()
        return [queue for queue in super().consume(n) if queue not in full]


class Transport(kombu_redis.Transport):
    Channel = Channel
