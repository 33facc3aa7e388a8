"""What keeps deployments moving in each worker process: sends due steps, and renews the leases of those at work.

A step is sent by whoever ends the one before. The driver sends those that nobody will: after a pause, after a
worker's death, after a lost message.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import redis
import structlog
from kombu.exceptions import OperationalError

from worker.celery import app, host_queue
from worker.record import Claim
from worker.settings import settings
from worker.store import Deployments, Due, deployments

log = structlog.get_logger()

_LONGEST_NAP = 1.0
_SHORTEST_NAP = 0.02


def send(due: Due) -> None:
    """Enqueue a step for its host's workers; a copy too many finds nothing to claim.

    What can't be sent now is sent by the driver: the alarm for it is set already.
    """
    try:
        app.send_task(
            due.step.task,
            kwargs={"deployment_id": due.id},
            queue=host_queue(settings().namespace, due.host),
            root_id=due.id,
            parent_id=due.id,
            ignore_result=True,
        )
    except OperationalError as error:
        log.warning("step_not_sent", deployment=due.id, step=due.step, error=str(error))


class Driver:
    """A thread that watches this host's alarms; started at a process' first need of it."""

    def __init__(self, records: Deployments, renew_seconds: float) -> None:
        self._records = records
        self._renew_seconds = renew_seconds
        self._held: set[Claim] = set()
        self._guard = threading.Lock()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look at the alarms now: one may go off sooner than the driver knew."""
        self._woken.set()

    @contextmanager
    def renewing(self, claim: Claim) -> Iterator[None]:
        """Keep a claim's lease while the block runs; `claim.lost` is set if that fails."""
        self.start()
        with self._guard:
            self._held.add(claim)
        try:
            yield
        finally:
            with self._guard:
                self._held.discard(claim)

    def _run(self) -> None:
        nap, renew_at = 0.0, time.monotonic()
        while not self._stopping.is_set():
            self._woken.wait(nap)
            self._woken.clear()
            try:
                if time.monotonic() >= renew_at:
                    self._renew_held()
                    renew_at = time.monotonic() + self._renew_seconds
                nap = self._send_due()
            except redis.RedisError as error:
                log.warning("driver_waits_for_redis", error=str(error))
                nap = _LONGEST_NAP

    def _send_due(self) -> float:
        alarms = self._records.ring()
        for due in alarms.steps:
            send(due)
        if alarms.until_next is None:
            return _LONGEST_NAP
        return min(max(alarms.until_next, _SHORTEST_NAP), _LONGEST_NAP)

    def _renew_held(self) -> None:
        with self._guard:
            held = tuple(self._held)
        for claim in held:
            if not self._records.renew(claim):
                claim.lost.set()


@cache
def driver() -> Driver:
    """The driver of this process."""
    return Driver(deployments(), settings().lease_seconds / 3)
