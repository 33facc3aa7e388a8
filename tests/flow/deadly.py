"""A worker that dies of the task in DEADLY: `celery -A tests.flow.deadly worker`."""

import os
import signal
from types import SimpleNamespace

import tasks.deploy.accept
import tasks.deploy.steps
import tasks.list
from worker.celery import app

__all__ = ["app"]


def die(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ["DEADLY"] == "docker.list":
    tasks.list.engine = die
elif os.environ["DEADLY"] == "docker.deploy":
    tasks.deploy.accept.outcome = SimpleNamespace(progress=die)
elif os.environ["DEADLY"] == "docker.deploy.create":
    tasks.deploy.steps.make = die
