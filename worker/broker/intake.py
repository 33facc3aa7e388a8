"""How a queue's messages get into a worker without being nowhere for a moment.

A worker waits for a message by two commands in one write: a blocking move from the queue to the queue's **inbox**, and
a script that takes what is in the inbox and leases it to this worker. Redis serves the move when a message comes and
then runs the script, whatever has become of the worker meanwhile; if it is gone, the lease ends like any other. Of all
the workers that wait, one is served.

All workers share a queue's inbox. The script of one that is gone can fail to run: a connection that ends in the very
moment in which its move is served, or a Redis out of memory. What is then left in the inbox is taken by the next
script that any worker sends, each of which has one sent every second.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis
import structlog
from kombu.utils.json import loads

from worker import metrics
from worker.broker.leases import queue_of
from worker.log import RepeatedWarning
from worker.refusal import DEEPEST, is_deeper, tell, too_long

if TYPE_CHECKING:
    from worker.broker.channel import Channel

log = structlog.get_logger()

_WAIT = 1
"""Seconds that Redis waits for a message: also how late one with a priority may be noticed, as it has another list."""
_ANSWER_WITHIN = 10
"""Seconds after that in which Redis must have answered; else the connection is given up for a new one."""
_PAUSE = 1

_UNREADABLE_KEPT = 100
_LONGEST_ID = 128
_END_LOOKED_AT = 65_536
"""Bytes of what is too long, in which its id is looked for."""

TAKE = f"""
local unacked, index, unreadable, raw, list = KEYS[1], KEYS[2], KEYS[3], false, ''
for place = 4, #KEYS do
    raw, list = redis.call('LINDEX', KEYS[place], -1), KEYS[place]
    if raw then break end
end
if not raw then return false end
local is_more = (redis.call('LLEN', list) > 1 or redis.call('EXISTS', unpack(KEYS, 4)) > 1) and 1 or 0
if #raw > tonumber(ARGV[2]) then
    -- Nobody's memory is to hold it, nor is its text. Celery writes headers behind the body.
    redis.call('RPOP', list)
    return {{is_more, false, #raw, string.match(string.sub(raw, -{_END_LOOKED_AT}), '"id": ?"([%w_.-]+)"') or ''}}
end
local readable, tag = pcall(function() return cjson.decode(raw).properties.delivery_tag end)
if not readable or type(tag) ~= 'string' then
    redis.call('LPUSH', unreadable, raw)
    redis.call('LTRIM', unreadable, 0, {_UNREADABLE_KEPT - 1})
    redis.call('RPOP', list)
    return {{is_more, false, raw}}
end
-- Some clients give all of their messages one tag (celery-ts): one that another message has would have that forgotten.
while redis.call('HEXISTS', unacked, tag) == 1 do
    tag = tag .. '+'
end
-- In which order deployments are asked for is that of the queue, however slow those are that take them from it.
local headers, is_numbered = cjson.decode(raw).headers, false
for place = 6, #ARGV do
    is_numbered = is_numbered or (type(headers) == 'table' and headers.task == ARGV[place])
end
if is_numbered and type(headers.id) == 'string' and #headers.id <= {_LONGEST_ID} then
    local order = ARGV[3] .. headers.id
    if redis.call('EXISTS', order) == 0 then
        redis.call('SET', order, redis.call('INCR', ARGV[4]), 'EX', ARGV[5])
    end
end
local now = redis.call('TIME')
redis.call('ZADD', index, now[1] .. '.' .. string.format('%06d', now[2]), tag)
-- As kombu writes it: message, exchange, routing key. The text is kept as it is: cjson would make {{}} of [].
redis.call('HSET', unacked, tag, '[' .. raw .. ',"",' .. ARGV[1] .. ']')
-- The last one: a command that is denied ends the script, and undoes nothing of what came before.
redis.call('RPOP', list)
return {{is_more, tag, raw}}
"""

_PUT_BACK = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('RPUSH', KEYS[3], ARGV[2])
end
"""

_SET_ASIDE = f"""
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[2])
redis.call('LTRIM', KEYS[3], 0, {_UNREADABLE_KEPT - 1})
"""


class Intake:
    """A thread that takes a queue's messages while there are slots for them, and keeps them to be fetched.

    Those that nobody has fetched when it is stopped go back to the head of the queue, as they came.
    """

    def __init__(self, channel: "Channel", queue: str, slots: int) -> None:
        self._channel = channel
        self._queue = queue
        self._slots = slots
        self._waiting: deque[tuple[str, bytes, dict[str, Any]]] = deque()
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._pool = channel.own_pool(socket_timeout=_WAIT + _ANSWER_WITHIN)
        self._thread = threading.Thread(target=self._run, name=f"intake of {queue}", daemon=True)
        self._waits = RepeatedWarning(log, "queue_not_read")
        self._inbox = f"dw.inbox.{queue}"
        self._lists = channel.lists(queue)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more; within a second or so the thread ends by itself (see `join`)."""
        self._stopped.set()
        self._changed.set()

    def join(self) -> None:
        self._thread.join(_WAIT + _ANSWER_WITHIN)

    def look_again(self) -> None:
        """Slots may have become free; called by any thread."""
        self._changed.set()

    def tags(self) -> list[str]:
        """The messages that were taken and wait to be fetched."""
        return [tag for tag, *_ in self._waiting.copy()]

    def fetch(self, deliver: Callable[[dict[str, Any], str], object]) -> None:
        """Deliver what was taken, in the queue's order."""
        while self._waiting and not self._stopped.is_set():
            try:
                deliver(self._waiting[0][2], self._queue)
            finally:
                # Not before: in neither place it would take no slot, and nobody would renew its lease.
                self._waiting.popleft()
                self._changed.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._take_on()
            except (redis.RedisError, OSError) as error:
                self._waits.say(queue=self._queue, error=str(error))
                self._pool.disconnect()
                self._stopped.wait(_PAUSE)
        try:
            self._give_back()
        except (redis.RedisError, OSError) as error:
            log.warning("messages_not_given_back", queue=self._queue, error=str(error))
        self._pool.disconnect()

    def _take_on(self) -> None:
        connection = self._pool.get_connection()
        try:
            waits = False
            while not self._stopped.is_set():
                self._changed.clear()
                if self._channel.in_work(self._queue) + len(self._waiting) >= self._slots:
                    self._changed.wait(_WAIT)
                    continue
                is_more, *taken = self._ask(connection, wait=waits) or [0]
                self._waits.over()
                waits = not is_more
                if taken:
                    self._receive(*taken)
        finally:
            self._pool.release(connection)

    def _ask(self, connection: Any, *, wait: bool) -> list[Any] | None:
        keys = [*self._own_keys(), self._inbox, *self._lists]
        # Not by its hash: a Redis that has forgotten scripts would leave the message in the inbox.
        arguments = (json.dumps(self._queue), self._channel.message_bytes, *self._channel.numbered)
        commands: list[tuple[Any, ...]] = [("EVAL", TAKE, len(keys), *keys, *arguments)]
        if wait:
            commands.insert(0, ("BLMOVE", self._queue, self._inbox, "RIGHT", "LEFT", _WAIT))
        connection.send_packed_command(connection.pack_commands(commands))
        answers: list[list[Any] | None] = [connection.read_response() for _ in commands]
        return answers[-1]

    def _refuse(self, length: int, task_id: str) -> None:
        error = too_long()
        metrics.message_refused()
        log.warning("message_refused", queue=self._queue, id=task_id, bytes=length, error=error.message)
        if task_id:
            tell(task_id, error)

    def _receive(self, tag: bytes | None, raw: bytes | int, task_id: bytes = b"") -> None:
        if isinstance(raw, int):
            self._refuse(raw, task_id.decode())
            return
        if tag is None:
            log.warning("message_unreadable", queue=self._queue)
            return
        try:
            message = loads(raw)
            if is_deeper(message, DEEPEST):
                raise ValueError("it is too deep")  # noqa: TRY301  # as loads says of what is deeper still
            message["properties"]["delivery_tag"] = tag.decode()
            # Where it is from is not the sender's to say: slots and lanes go by it.
            told = message["properties"].get("delivery_info") or {}
            message["properties"]["delivery_info"] = {
                "exchange": "",
                "routing_key": self._queue,
                "redelivered": told.get("redelivered") is True,
            }
            # Raised in the event loop, it would have Celery reconnect, and the message come again for ever.
            queue_of(self._channel.Message(message, channel=self._channel))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("message_unreadable", queue=self._queue, error=str(error))
            self._eval(_SET_ASIDE, self._own_keys(), tag, raw)
            return
        self._waiting.append((tag.decode(), raw, message))
        self._channel.ring()

    def _give_back(self) -> None:
        # Unlike kombu's restore: not marked as given out before, as nobody has begun with it.
        while self._waiting:
            tag, raw, _ = self._waiting.pop()
            self._eval(_PUT_BACK, [*self._own_keys()[:2], self._queue], tag, raw)

    def _eval(self, script: str, keys: list[str], *arguments: str | bytes) -> None:
        redis.Redis(connection_pool=self._pool).eval(script, len(keys), *keys, *arguments)

    def _own_keys(self) -> list[str]:
        return [self._channel.unacked_key, self._channel.unacked_index_key, self._channel.unreadable_key]
