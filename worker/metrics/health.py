"""Whether this process works, by its own word (`GET /health`): what goes round in it does so still.

Celery's event loop takes messages, and heart-beats every two seconds; our own heartbeat speaks for the host. Both need
Redis, and neither goes on where it is lost, or where a thread hangs. To ask costs nothing of what a client of Celery's
costs, which takes a second of a processor to start.
"""

import time
from collections.abc import Callable

from celery.signals import heartbeat_sent

from worker.heartbeat import heartbeat
from worker.settings import settings

_SLACK = 5.0
"""Seconds: a machine may be busy."""


class Health:
    """What was heard of this process' loops, and when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looped_at: float | None = None
        heartbeat_sent.connect(self._note_loop)

    def trouble(self) -> str | None:
        """What stands still, and for how long; None where all goes round."""
        for name, at in (("event loop", self._looped_at), ("heartbeat", heartbeat().spoke_at)):
            if at is None:
                return f"the {name} has not begun yet"
            silent_for = self._clock() - at
            if silent_for > settings().away_seconds + _SLACK:
                return f"the {name} has stood still for {silent_for:.0f} s: see this worker's log"
        return None

    def _note_loop(self, **_: object) -> None:
        self._looped_at = self._clock()
