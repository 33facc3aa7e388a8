"""Workers that die by their own hand at a named point, right before or right after one of their effects.

The product knows nothing of it: what acts on Redis, on the engine and on the result backend is wrapped from outside.
The workers are forked from a process that has imported what takes long, so that a start costs little.
"""

import functools
import multiprocessing
import os
import re
import signal
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import redis.lock
from celery.__main__ import main as celery_main

from worker import webhook
from worker.broker import QoS
from worker.engine.connection import EngineApi
from worker.store.deployments import Deployments
from worker.store.pulls import Pulls

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("celery.apps.worker", "celery.backends.redis", "celery.bin.celery", "celery.concurrency.thread"),
        *("celery.events.state", "celery.worker.worker", "kombu.transport.redis"),
        # Of the product itself only what reads no settings: each worker has its own.
        *("worker.engine", "worker.keyring", "worker.plan", "worker.spec", "worker.store", __name__),
    ]
)


@dataclass
class Doom:
    """What kills a worker: the moment, `before` or `after`, of an effect's `time`-th occurrence once it is armed.

    An effect is a pattern for one of: `receipt of message`, `accept`, `claim STEP`, `commit STEP`, `join`, `settle`,
    `note made anew`, `close`, `send TASK`, `METHOD /path/at/the/engine`, `result STATE`, `lock NAME`,
    `hook EVENT REASON`. What comes to one of `held` waits there for its death.
    """

    moment: str
    effect: str
    time: int = 1
    held: str = ""
    armed: Event = field(default_factory=_FORKS.Event, repr=False)

    def __post_init__(self):
        self._guard = None

    def near(self, moment, effect):
        if not self.armed.is_set():
            return
        if re.fullmatch(self.held, effect):
            threading.Event().wait()
        if moment != self.moment or not re.fullmatch(self.effect, effect):
            return
        with self._guard:
            self.time -= 1
            if self.time == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner, name, effect_of):
        """Have each call of a function be an effect, which `effect_of` names from its arguments."""
        plain = getattr(owner, name)

        @functools.wraps(plain)
        def watched(*args, **kwargs):
            effect = effect_of(*args, **kwargs)
            self.near("before", effect)
            answer = plain(*args, **kwargs)
            self.near("after", effect)
            return answer

        setattr(owner, name, watched)

    def befall(self, app):
        """Wrap all effects of this process' product."""
        self._guard = threading.Lock()
        self.watch(QoS, "append", lambda *_: "receipt of message")
        self.watch(Deployments, "accept", lambda *_: "accept")
        self.watch(Deployments, "claim", lambda _, __, step: f"claim {step}")
        self.watch(Deployments, "advance", lambda _, claim, *__, **___: f"commit {claim.step}")
        self.watch(Pulls, "join", lambda *_, **__: "join")
        self.watch(Pulls, "settle", lambda *_: "settle")
        self.watch(Deployments, "note_made_anew", lambda *_: "note made anew")
        self.watch(Deployments, "close", lambda *_: "close")
        self.watch(EngineApi, "send", lambda _, request, **__: f"{request.method} {_path(request)}")
        self.watch(redis.lock.Lock, "acquire", lambda lock, *_, **__: f"lock {lock.name}")
        self.watch(webhook, "post", lambda _, told, **__: f"hook {told['event']} {told['reason']}")
        self.watch(app, "send_task", lambda name, **_: f"send {name}")
        # The app has a backend for each thread.
        self.watch(type(app.backend), "store_result", lambda _, __, ___, state, **____: f"result {state}")


def _path(request):
    return re.sub(r"^/v[0-9.]+", "", request.path_url).partition("?")[0]


def start_worker(environment, log, doom=None) -> ForkServerProcess:
    """Start a worker with these settings and no others; it writes to the file `log`."""
    process = _FORKS.Process(target=_work, args=(environment, str(log), doom))
    process.start()
    return process


def _work(environment, log, doom):
    os.environ.clear()
    os.environ.update(environment)
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if doom:
        from worker.celery import app  # noqa: PLC0415  # it reads the settings

        doom.befall(app)
    # Mingling is a second's wait for other workers' answers, and there is no other.
    sys.argv = ["celery", "-A", "worker", "worker", "-n", f"{os.getpid()}@test", "--without-mingle"]
    celery_main()
