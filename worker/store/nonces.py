"""Which signed messages have come, so that none is taken twice."""

from enum import Enum

import redis

_DONE = "done"


class Seen(Enum):
    """How often a signed message has come."""

    FIRST = 1
    AGAIN = 2
    """It was given out before, and isn't done: a worker was lost, or it is tried again."""
    REPLAYED = 3
    """It is done, or its nonce is another message's."""


class Nonces:
    """A key `nonce:<producer>:<nonce>` each, which holds the message's id until it is done."""

    def __init__(self, connection: redis.Redis, prefix: str) -> None:
        self._redis = connection
        self._prefix = f"{prefix}nonce:"

    def see(self, producer: str, nonce: str, task_id: str, *, seconds: float) -> Seen:
        """Note that a message has come; it is remembered for as long as its signature is good."""
        key = self._key(producer, nonce)
        if self._redis.set(key, task_id, nx=True, px=max(1, int(seconds * 1000))):
            return Seen.FIRST
        return Seen.AGAIN if self._redis.get(key) == task_id else Seen.REPLAYED

    def spend(self, producer: str, nonce: str) -> None:
        """Note that a message is done."""
        self._redis.set(self._key(producer, nonce), _DONE, xx=True, keepttl=True)

    def _key(self, producer: str, nonce: str) -> str:
        return f"{self._prefix}{producer}:{nonce}"
