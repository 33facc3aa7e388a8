"""How many messages wait in queues that nobody has taken yet."""

from collections.abc import Mapping
from typing import Self

import redis
from kombu.transport.redis import PRIORITY_STEPS

from worker import address
from worker.settings import Settings

_SEPARATOR = "\x06\x16"
"""Kombu's, between a queue's name and a priority."""


class Depths:
    """Looks into the queues of a Redis; all raise `redis.RedisError` where it can't be had."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    @classmethod
    def of(cls, values: Settings, answer_within: float) -> Self | None:
        """For the broker of these settings; None where that is a RabbitMQ, which tells of its queues itself."""
        url = values.broker_url or values.redis_url
        if not url.startswith("redis"):
            return None
        return cls(
            redis.Redis.from_url(
                address.without_parameters(url),
                **address.tls(url),
                socket_timeout=answer_within,
                socket_connect_timeout=answer_within,
            )
        )

    def read(self, queues: Mapping[str, str]) -> dict[str, int]:
        """The depth of each queue, by whatever it is called here."""
        lists = {called: [*_lists(queue), f"dw.inbox.{queue}"] for called, queue in queues.items()}
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in lists.values():
                for name in each:
                    pipeline.llen(name)
            lengths = iter(pipeline.execute())
        return {called: sum(next(lengths) for _ in each) for called, each in lists.items()}


def _lists(queue: str) -> list[str]:
    return [queue, *(f"{queue}{_SEPARATOR}{each}" for each in PRIORITY_STEPS if each)]
