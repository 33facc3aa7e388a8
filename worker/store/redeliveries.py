"""How often messages were given out again, which Celery doesn't count: it says only that one was."""

import redis

_KEPT_SECONDS = 86_400


class Redeliveries:
    """The counts of one installation, each in `redelivered:<task id>` for a day after its last change."""

    def __init__(self, connection: redis.Redis, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix

    def count(self, task_id: str) -> int:
        """Count one more of this message, and return how many there are now.

        Raises redis.RedisError.
        """
        key = f"{self._prefix}redelivered:{task_id}"
        with self._redis.pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, _KEPT_SECONDS)
            return int(pipeline.execute()[0])
