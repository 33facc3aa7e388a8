"""What happens when a worker process starts and ends."""

import logging
import os
import threading
from typing import Any

import structlog
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down

from worker import log
from worker.driver import driver, send_reconcile
from worker.engine import close_engine
from worker.interrupt import interruptible
from worker.keyring import keyring
from worker.settings import SettingsInvalid, settings


@setup_logging.connect
def _log_our_way(loglevel: int, **_: Any) -> None:
    # Celery asks for WARNING unless it is told otherwise; what a deployment does is worth a line.
    log.configure(settings().log_format, min(loglevel, logging.INFO))


@worker_init.connect
def _check_keys(**_: Any) -> None:
    # Wrong keys must fail the start, not the first deployment at night. `SystemExit` is what a signal lets by.
    try:
        keyring()
    except SettingsInvalid as error:
        raise SystemExit(str(error)) from None


@worker_ready.connect
def _start_driver(**_: Any) -> None:
    driver().start()
    # Whatever happened while nobody worked here is set right at once.
    send_reconcile()


@worker_shutting_down.connect
def _hand_on(**_: Any) -> None:
    # Celery waits for what runs, however long. What is broken off here, or left at the end of the wait, is due again
    # for another worker, or for this one once it is back.
    driver().hand_on()
    interruptible.break_off_all()
    patience = threading.Timer(settings().shutdown_seconds, _leave)
    patience.daemon = True
    patience.start()


def _leave() -> None:
    structlog.get_logger().warning("left_unfinished", after_seconds=settings().shutdown_seconds)
    os._exit(1)


@worker_shutdown.connect
def _let_go(**_: Any) -> None:
    driver().stop()
    close_engine()
