"""What happens when a worker process starts and ends."""

import ctypes
import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import Any

import structlog
from celery.exceptions import WorkerShutdown
from celery.signals import celeryd_init, setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down
from celery.worker.control import control_command, inspect_command

from worker import about, log, metrics, monitors, tracing
from worker.driver import driver, send_reconcile
from worker.engine import close_engine
from worker.heartbeat import heartbeat
from worker.interrupt import interruptible
from worker.keyring import keyring
from worker.policy import policy
from worker.settings import SettingsInvalid, settings
from worker.signature import signing_key
from worker.version import VERSION
from worker.watcher import watcher

_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8
_GIVE_BACK_EVERY = 60
"""Seconds between two calls of a millisecond."""
_told: SimpleQueue[None] = SimpleQueue()


@setup_logging.connect
def _log_our_way(loglevel: int, **_: Any) -> None:
    # Celery asks for WARNING unless it is told otherwise; what a deployment does is worth a line.
    log.configure(settings().log_format, min(loglevel, logging.INFO), host=settings().host)


@celeryd_init.connect
def _log_from_the_start(instance: Any, **_: Any) -> None:
    # Before Celery asks for it, it has said what it thinks of root.
    log.configure(settings().log_format, host=settings().host)
    if settings().log_format == "json":
        # Celery's picture of what it has been told, many lines of it.
        instance.quiet = True


@worker_init.connect
def _share_memory(**_: Any) -> None:
    # Left to itself, glibc gives each thread a heap of its own, and what is free in one is of no use to the others.
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 2)


@worker_init.connect
def _check(sender: Any, **_: Any) -> None:
    # What is wrong must fail the start, not the first deployment at night. `SystemExit` is what a signal lets by.
    if sender.options.get("autoscale"):
        # Celery would end at the first scaling: its pool of threads has none (Celery 5.7).
        raise SystemExit("--autoscale doesn't go with a pool of threads: set DW_CONCURRENCY, or start more workers.")
    try:
        keyring()
        policy()
        signing_key()
        metrics.start()
        tracing.start()
    except SettingsInvalid as error:
        raise SystemExit(str(error)) from None


@worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    monitors.connect(sender)
    threading.Thread(target=_end_in_time, name="end", daemon=True).start()
    if hasattr(_libc, "malloc_trim"):
        threading.Thread(target=_give_back_memory, name="memory", daemon=True).start()
    driver().start()
    heartbeat().start()
    watcher().start()
    # Whatever happened while nobody worked here is set right at once.
    send_reconcile()


@worker_shutting_down.connect
def _told_to_end(**_: Any) -> None:
    # Called within the signal's handler, where a lock may be held by the very thread that would wait for it.
    _told.put(None)


@control_command(name="shutdown")
def shutdown(_: object, **__: object) -> None:
    """End, as on SIGTERM. Replaces Celery's command of this name, which tells nobody before it does."""
    _told.put(None)
    raise WorkerShutdown(0)


@inspect_command(name=about.CONTROL_COMMAND)
def tell_about(_: object, **__: object) -> dict[str, object]:
    """What this process is, for `dw doctor`."""
    return {
        **about.versions(),
        "reads": VERSION,
        "namespace": settings().namespace,
        "host": settings().host,
        "keys": keyring().identities,
    }


def _give_back_memory() -> None:
    # Each thread has glibc keep for it what it has freed, in between what is in use: so no heap gets smaller by itself.
    while True:
        time.sleep(_GIVE_BACK_EVERY)
        _libc.malloc_trim(0)


def _end_in_time() -> None:
    """Once the worker is told to end, see to it that it does.

    Celery waits for what runs, however long. What is broken off here, or left at the end of the wait, is due again for
    another worker, or for this one once it is back.
    """
    _told.get()
    patience = threading.Timer(settings().shutdown_seconds, _leave)
    patience.daemon = True
    patience.start()
    driver().hand_on()
    interruptible.break_off_all()


def _leave() -> None:
    try:
        structlog.get_logger().warning("left_unfinished", after_seconds=settings().shutdown_seconds)
    finally:
        os._exit(1)


@worker_shutdown.connect
def _let_go(**_: Any) -> None:
    watcher().stop()
    heartbeat().stop()
    driver().stop()
    close_engine()
    tracing.stop()
