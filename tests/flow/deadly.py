"""A worker that dies of `docker.list` and `docker.deploy`: `celery -A tests.flow.deadly worker`."""

import os
import signal
from types import SimpleNamespace

import tasks.deploy.accept
import tasks.list
from worker.celery import app

__all__ = ["app"]


def die(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)


tasks.list.engine = die
tasks.deploy.accept.outcome = SimpleNamespace(progress=die)
