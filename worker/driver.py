"""What keeps deployments moving in each worker process: sends due steps, and watches over those at work.

A step is sent by whoever ends the one before. The driver sends those that nobody will: after a pause, after a
worker's death, after a lost message. It renews the leases of the steps at work, and breaks off those whose lease is
lost, whose deployment is cancelled, or whose worker is to end. Now and then it has its host reconciled.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import redis
import structlog
from kombu.exceptions import OperationalError

from worker.celery import Lane, app
from worker.log import RepeatedWarning
from worker.record import ON_FAILURE, Break, Claim, Step
from worker.settings import settings
from worker.store import Deployments, Due, deployments

log = structlog.get_logger()

_LONGEST_NAP = 1.0
_SHORTEST_NAP = 0.02
_LOOK_EVERY = 0.25
"""Seconds between looks at what may be cancelled while something is at work."""


def lane_of(step: Step) -> Lane:
    """Where a step is done."""
    return Lane.PULLS if step is Step.PULL else Lane.WORK


def send(due: Due, lane: Lane | None = None) -> None:
    """Enqueue a step for its host's workers, in its own lane or the one given; a copy too many finds nothing to claim.

    What can't be sent now is sent by the driver: the alarm for it is set already.
    """
    try:
        app.send_task(
            due.step.task,
            kwargs={"deployment_id": due.id},
            queue=(lane or lane_of(due.step)).queue(settings().namespace, due.host),
            root_id=due.id,
            parent_id=due.id,
            ignore_result=True,
        )
    except OperationalError as error:
        log.warning("step_not_sent", deployment=due.id, step=due.step, error=str(error))


def send_reconcile() -> None:
    """Have one of this host's workers reconcile it."""
    try:
        app.send_task(
            "docker.reconcile",
            queue=Lane.WORK.queue(settings().namespace, settings().host),
            ignore_result=True,
            expires=settings().reconcile_seconds,
        )
    except OperationalError as error:
        log.warning("reconcile_not_sent", error=str(error))


class Driver:
    """A thread that watches this host's alarms; started at a process' first need of it."""

    def __init__(self, records: Deployments, lease_seconds: float, reconcile_seconds: float) -> None:
        self._records = records
        self._renew_every = lease_seconds / 3
        self._reconcile_every = reconcile_seconds
        self._held: list[Claim] = []
        self._guard = threading.Lock()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._waits = RepeatedWarning(log, "driver_waits_for_redis")
        self._renew_at = 0.0
        self._hands_on = False

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

    def hand_on(self) -> None:
        """Break off what can as well be done by another worker, from now on: this one ends."""
        with self._guard:
            self._hands_on = True
            for claim in self._held:
                claim.break_off(Break.SHUTDOWN)

    @property
    def is_ending(self) -> bool:
        """Whether its worker ends, and begins nothing more."""
        return self._hands_on

    @contextmanager
    def watching(self, claim: Claim) -> Iterator[None]:
        """Keep a claim's lease while the block runs, and break it off when it must not go on."""
        self.start()
        with self._guard:
            self._held.append(claim)
            if self._hands_on:
                claim.break_off(Break.SHUTDOWN)
        try:
            yield
        finally:
            with self._guard:
                self._held.remove(claim)

    def look(self) -> float:
        """Do all that is to be done now, and return the seconds until there may be more."""
        with self._guard:
            held = tuple(self._held)
        if time.monotonic() >= self._renew_at:
            self._renew(held)
            self._records.announce_version()
            self._renew_at = time.monotonic() + self._renew_every
        for claim in self._records.those_cancelled([each for each in held if each.step in ON_FAILURE]):
            claim.break_off(Break.CANCELLED)
        if self._records.may_reconcile(self._reconcile_every):
            send_reconcile()
        nap = self._send_due()
        return min(nap, _LOOK_EVERY) if held else nap

    def _run(self) -> None:
        try:
            self._look_on()
        finally:
            if not self._stopping.is_set():
                # Without a driver, what this worker does is taken from it unawares, and it sees no cancel.
                log.critical("driver_died", exc_info=sys.exception())
                os._exit(1)

    def _look_on(self) -> None:
        nap = 0.0
        while not self._stopping.is_set():
            self._woken.wait(nap)
            self._woken.clear()
            try:
                nap = self.look()
                self._waits.over()
            except redis.RedisError as error:
                self._waits.say(error=str(error))
                nap = _LONGEST_NAP

    def _send_due(self) -> float:
        alarms = self._records.ring()
        for due in alarms.steps:
            send(due)
        if alarms.until_next is None:
            return _LONGEST_NAP
        return min(max(alarms.until_next, _SHORTEST_NAP), _LONGEST_NAP)

    def _renew(self, held: Sequence[Claim]) -> None:
        for claim in held:
            if not self._records.renew(claim):
                claim.break_off(Break.LOST)


@cache
def driver() -> Driver:
    """The driver of this process."""
    return Driver(deployments(), settings().lease_seconds, settings().reconcile_seconds)
