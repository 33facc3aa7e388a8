"""What tells deployments in each worker process that something has happened to the container they wait for.

The engine's events make a step due that would else look again only when time alone decides, or a few seconds later:
so a lost connection, here or at another worker of the host, costs these and nothing more.
"""

import os
import sys
import threading
from contextlib import closing
from functools import cache

import redis
import structlog

from worker.driver import send
from worker.engine import engine
from worker.errors import DeploymentError
from worker.heartbeat import heartbeat
from worker.interrupt import Interrupt, Interrupted
from worker.log import RepeatedWarning
from worker.store import Deployments, deployments

log = structlog.get_logger()

_QUIET = 60.0
"""Seconds without an event after which the engine is asked anew."""
_PAUSE = 1.0
_ENDS_WITHIN = 1.0
"""Seconds: longer, the thread can only hang on an engine that takes no connections."""


class Watcher:
    """A thread that listens to this host's engine."""

    def __init__(self, records: Deployments) -> None:
        self._records = records
        self._interrupt = Interrupt()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._waits = RepeatedWarning(log, "watcher_waits_for_engine")

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._interrupt.set()
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN)

    def _run(self) -> None:
        try:
            self._listen_on()
        finally:
            if not self._stopping.is_set():
                # Without a watcher all proofs of this host may take seconds longer, and nobody would know why.
                log.critical("watcher_died", exc_info=sys.exception())
                os._exit(1)

    def _listen_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
                self._waits.over()
            except Interrupted:
                return
            except DeploymentError as error:
                self._waits.say(error=error.message)
            self._stopping.wait(_PAUSE)

    def _listen(self) -> None:
        containers = engine().containers
        # What has happened while nobody listened is not told again.
        heartbeat().something_changed()
        with closing(containers.events(quiet=_QUIET, interrupt=self._interrupt)) as events:
            for event in events:
                self._waits.over()
                heartbeat().something_changed(containers.labels.stage_of(event))
                if event.is_decisive:
                    self._pass_on(containers.labels.deployment_of(event))

    def _pass_on(self, deployment: str) -> None:
        try:
            due = self._records.hear(deployment)
            if due:
                send(due)
        except redis.RedisError as error:
            log.warning("event_not_passed_on", deployment=deployment, error=str(error))


@cache
def watcher() -> Watcher:
    """The watcher of this process."""
    return Watcher(deployments())
