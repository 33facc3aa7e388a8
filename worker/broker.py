"""Kombu's Redis transport, so that a busy worker survives the loss of its Redis.

When the connection drops, Celery closes it and then has its channel give back the messages in work; that channel
asks its connection, which is gone, for parameters (kombu 5.7: `AttributeError: 'NoneType' object has no attribute
'hostname'`). Celery takes any error but a connection's for fatal, and the worker exits. Said as what it is, it has
Celery reconnect.
"""

from typing import Any

import redis
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection to the broker is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        return parameters


class Transport(kombu_redis.Transport):
    Channel = Channel
