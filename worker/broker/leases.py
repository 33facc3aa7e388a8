"""What a channel has received and not acknowledged."""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import redis
import structlog
from kombu.transport import redis as kombu_redis

if TYPE_CHECKING:
    from worker.broker.channel import Channel

log = structlog.get_logger()

_RENEWALS_PER_LEASE = 3


class QoS(kombu_redis.QoS):
    """Each message under a lease, also while it waits to be fetched from its intake.

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

    def can_consume(self) -> bool:
        """Where queues have slots, these are the limit, and nothing that was taken waits for another one."""
        return bool(self.channel.slots) or super().can_consume()

    def append(self, message: Any, delivery_tag: str) -> None:
        if delivery_tag in self.channel.handed_over():
            # Its lease began when it was taken; all that is left to do is not kombu's Redis part.
            super(kombu_redis.QoS, self).append(message, delivery_tag)
            return
        super().append(message, delivery_tag)
        self.keep_renewing()
        # Until here its lease is by this host's clock, as kombu has it.
        self.renew([delivery_tag])

    def renew(self, tags: list[str]) -> None:
        """Have these leases begin now; what is acknowledged meanwhile stays so."""
        self._client.zadd(self.unacked_index_key, dict.fromkeys(tags, _now(self._client)), xx=True)

    def keep_renewing(self) -> None:
        """Renew from now on whatever is held."""
        if self._renewing.ident is None:
            # The channel's own connections are cut when it closes, also those that are at work.
            self._client = redis.Redis(connection_pool=self.channel.own_pool())
            self._renewing.start()

    def ack(self, delivery_tag: str) -> None:
        super().ack(delivery_tag)
        self.channel.slot_is_free()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().reject(delivery_tag, requeue)
        self.channel.slot_is_free()

    def in_work(self, queue: str) -> int:
        """How many of a queue's messages are in work, or wait here for a retry's time: they can all come at once."""
        delivered: Mapping[str, Any] = self._delivered or {}
        messages = [delivered.get(tag) for tag in self._undone()]
        return sum(queue_of(each) == queue for each in messages if each)

    def restore_visible(self, *arguments: Any, **named: Any) -> None:
        """Give out again what nobody renews; called by a timer, where an error would be logged as a crash."""
        if not self.channel.takes_messages():
            # Who only looks, as Flower does, needs no right to.
            return
        try:
            super().restore_visible(*arguments, **named)
        except redis.ResponseError as error:
            log.warning("ended_leases_not_looked_for", error=str(error))

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
                if held := [*self.channel.handed_over(), *self._undone()]:
                    self.renew(held)
            except (redis.RedisError, OSError) as error:
                log.warning("message_leases_not_renewed", error=str(error))
        self._client.connection_pool.disconnect()

    def _undone(self) -> list[str]:
        # What is given back stays in `_delivered` until the next message comes, and may be another worker's by now:
        # a message keeps its tag. To list a dict's keys is one step to other threads.
        dirty = self._dirty or ()
        return [tag for tag in list(self._delivered or ()) if tag not in dirty]


def queue_of(message: Any) -> str:
    return str(message.delivery_info["routing_key"])


def _now(client: redis.Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1_000_000)
