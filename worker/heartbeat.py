"""What tells others, from each worker process, that its host is there, what it can take on and which containers it has.

One of a host's processes says so every few seconds, whichever comes first; and within a second after something has
happened to a container. Beside that each looks after what hosts that are away have left (`worker.rescue`).
"""

import os
import shutil
import sys
import threading
import time
from functools import cache
from typing import Literal

import redis
import structlog

from worker import listing, rescue
from worker.engine import answering_within, engine
from worker.errors import DeploymentError
from worker.log import RepeatedWarning
from worker.settings import settings
from worker.store import Announcement, hosts

log = structlog.get_logger()

_LOOK_EVERY = 0.5
_ALL = ""
"""In the place of a stage."""
_MOST_STAGES = 100
"""So many are told of one by one, a few milliseconds each: a list of all takes a second where there are thousands."""
_MOST_OF_TIME = 0.1
"""The share of its time that a host may spend on telling of its containers."""
_LEAST_PATIENCE = 5.0
"""Seconds that an engine has to answer, however short a lease is."""
_ENDS_WITHIN = 1.0
"""Seconds: longer, the thread can only hang on an engine that doesn't answer."""


class Heartbeat:
    """A thread that speaks for this host."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._waits = RepeatedWarning(log, "heartbeat_waits_for_redis")
        self._guard = threading.Lock()
        self._changed = {_ALL: time.time()}
        self._beat_at = 0.0
        self._tell_at = 0.0
        self._has_engine = True
        self.spoke_at: float | None = None
        """When it last found this host spoken for, by the monotonic clock."""
        self.has_neighbours = False
        """Whether there are other hosts, as far as this process knows."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN)

    def something_changed(self, stage: str = _ALL) -> None:
        """Tell others soon which containers there are, of one stage or of all."""
        with self._guard:
            self._changed[stage] = time.time()

    def look(self) -> None:
        """Do what is to be done by now.

        Raises RedisError.
        """
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + settings().heartbeat_seconds
            self._beat()
        # An engine that hangs would have this thread wait, and the host fall silent.
        if self._changed and self._has_engine and time.monotonic() >= self._tell_at:
            self._tell_what_changed()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_EVERY):
                try:
                    self.look()
                    self._waits.over()
                except redis.RedisError as error:
                    self._waits.say(error=str(error))
        finally:
            if not self._stopping.is_set():
                # Without it, others would take this host for dead.
                log.critical("heartbeat_died", exc_info=sys.exception())
                os._exit(1)

    def _beat(self) -> None:
        if hosts().may_announce():
            with answering_within(_patience()):
                told = _told_of_here()
            self._has_engine = told.engine is not None
            hosts().announce(told)
        self.spoke_at = time.monotonic()
        self.has_neighbours = any(each != settings().host for each in hosts().names())
        rescue.look_after_those_away()

    def _tell_what_changed(self) -> None:
        """Tell which containers this host has, of the stages that have changed."""
        with self._guard:
            changed = dict(self._changed)
        to_tell = {_ALL: max(changed.values())} if _ALL in changed or len(changed) > _MOST_STAGES else changed
        began = time.monotonic()
        try:
            with answering_within(_patience()):
                told = [stage for stage, since in to_tell.items() if self._is_told(stage, since)]
        except DeploymentError as error:
            log.warning("containers_not_told", error=error.message)
            # For how long an engine was silent is not what it takes to tell.
            began = time.monotonic()
            return
        finally:
            self._tell_at = time.monotonic() + (time.monotonic() - began) / _MOST_OF_TIME
        with self._guard:
            done = changed.items() if _ALL in told else {(stage, changed[stage]) for stage in told}
            self._changed = dict(self._changed.items() - done)

    def _is_told(self, stage: str, since: float) -> bool:
        """Have a stage told of, unless another process does, or has done since it changed; False in the first case."""
        if hosts().is_told_since(stage, since):
            return True
        if not hosts().may_tell(stage, _LOOK_EVERY):
            return False
        began = time.time()
        listing.tell(stage)
        hosts().note_told(stage, began)
        return True


def _patience() -> float:
    """Seconds for the engine: with those between two heartbeats fewer than after which the host counts as away."""
    return max(_LEAST_PATIENCE, settings().away_seconds / 2)


def _told_of_here() -> Announcement:
    slots = settings().concurrency
    try:
        capacity = engine().capacity()
    except DeploymentError as error:
        log.warning("host_without_engine", error=error.message)
        return Announcement(engine=None, slots=slots, trouble=error.message, clock=time.time())
    return Announcement(
        engine=capacity.version,
        cpus=capacity.cpus,
        containers=capacity.running,
        slots=slots,
        free_disk=_free_disk(capacity.folder),
        network=_network(),
        clock=time.time(),
    )


def _network() -> Literal["spare", "plain", "missing"] | None:
    try:
        network = engine().networks.find(settings().network)
    except DeploymentError as error:
        log.warning("network_not_seen", error=error.message)
        return None
    return "missing" if network is None else "spare" if network.spare else "plain"


def _free_disk(folder: str) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        # Of an engine elsewhere, or one whose folder isn't mounted into the worker's container.
        return None


@cache
def heartbeat() -> Heartbeat:
    """The heartbeat of this process."""
    return Heartbeat()
