"""Flower, as `celery -A worker flower` starts it with no further flags.

Its own options are all as its users know them (command line, `FLOWER_…` variables, flowerconfig.py): what is here are
other defaults, how a task of ours reads, and one rule: who listens to other machines asks for a password.
"""

import ast
import contextlib
import json
import os
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.events.state import Task
from celery.signals import import_modules
from flower.events import EventsState
from kombu.transport import TRANSPORT_ALIASES
from tornado.options import options

from worker.orders import NUMBERED_TASKS
from worker.signing import sign_what_is_sent

_DEFAULTS: dict[str, object] = {
    "address": "127.0.0.1",
    # Some 65 MB. Flower's own are 100,000; a deployment is about ten.
    "max_tasks": 10_000,
    "natural_time": True,
    # Workers in containers have another name after each start.
    "purge_offline_workers": 86_400,
    "tasks_columns": "name,args,state,received,runtime,uuid,worker",
}
_LOST = "LOST"


def prepare(app: Celery) -> None:
    """Set what Flower begins with; to be called before it reads its options."""
    for name, value in _DEFAULTS.items():
        setattr(options, name, value)
    options.format_task = readable
    EventsState.Task = _Task
    # What Flower sends is a producer's, and taken as that.
    sign_what_is_sent()
    # Flower looks into the queues of brokers whose address has the name of a transport of kombu's: ours go by those.
    TRANSPORT_ALIASES[urlsplit(app.conf.broker_url).scheme] = app.conf.broker_transport
    app.conf.broker_transport = None
    # Flower has this sent once it has read its options and doesn't listen yet.
    import_modules.connect(_check)


def _check(**_: object) -> None:
    passwords = options.basic_auth or []
    if not all(user and password for user, _, password in (each.partition(":") for each in passwords)):
        # To Flower an empty one is a password like any other.
        raise SystemExit("Flower's passwords are wrong: FLOWER_BASIC_AUTH must be user:password, or several by commas.")
    if passwords or options.auth:
        return
    if not options.unix_socket and not _is_loopback(options.address):
        raise SystemExit(
            f"Flower doesn't listen on {options.address or 'all addresses'} without a password: set FLOWER_BASIC_AUTH "
            "to user:password, or leave out the address for this machine alone."
        )
    # Flower's API is closed without a password, and its buttons use that. Any page in a browser here could use it else.
    if os.environ.get("FLOWER_UNAUTHENTICATED_API", "").lower() not in {"y", "yes", "t", "true", "on", "1"}:
        options.read_only = True


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False


class _Task(Task):
    """A task that `readable` gets a copy of; one of Celery's own would be without its children."""

    def __copy__(self) -> "_Task":
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied


def readable(task: Any) -> Any:
    """Say of a task, a copy of Flower's, what people want to read."""
    # With what was asked of a stage, other workers go on.
    if task.state == "STARTED" and task.name not in NUMBERED_TASKS and not _has_worker(task):
        task.state = _LOST
    if task.exception:
        # The page has it far below, and the list not at all.
        task.result = task.exception
    with contextlib.suppress(SyntaxError, TypeError, ValueError):
        task.result = json.dumps(ast.literal_eval(task.result), indent=2)
    task.children = sorted(task.children, key=lambda child: child.received or 0)
    # Who described it is no client; and that a deployment is its own root tells nobody anything.
    task.client = task.root = task.parent = None
    task.root_id = None if task.root_id == task.uuid else task.root_id
    return task


def _has_worker(task: Any) -> bool:
    """Whether the very process that began it is alive; another one may have its name."""
    return bool(task.worker and task.worker.alive and task.worker.pid in {None, getattr(task, "pid", None)})
