"""What happens when a worker process starts and ends."""

import logging
from typing import Any

from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown

from worker import log
from worker.driver import driver
from worker.engine import close_engine
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


@worker_shutdown.connect
def _let_go(**_: Any) -> None:
    driver().stop()
    close_engine()
