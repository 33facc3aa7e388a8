"""Where the product is put on simulated ground: each thing of the outside world, replaced in one place."""

import logging
import os
import random
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import greenlet
import redis.lock
import structlog

import tasks  # noqa: F401  # registers them all
import worker.driver
import worker.engine.client
import worker.heartbeat
import worker.store
import worker.webhook
from tests.simulation.keyspace import SimulatedRedis
from tests.simulation.scheduler import Line
from worker.celery import app
from worker.engine import engine
from worker.engine.connection import streamed
from worker.settings import settings
from worker.store import credentials, deployments, hosts, pulled_images, pulls
from worker.store.deployments import _holder

SETTINGS = {
    "DW_NAMESPACE": "simulated",
    # Another Redis than the records': messages here are numbered by who receives them.
    "DW_BROKER_URL": "redis://simulated.test/1",
    "DW_NETWORK": "shared",
    "DW_STABLE_SECONDS": "1",
    "DW_HEALTH_TIMEOUT": "6",
    "DW_DEPLOY_TIMEOUT": "600",
    "DW_LEASE_SECONDS": "5",
    "DW_RECONCILE_SECONDS": "10",
    "DW_RECONCILE_GRACE": "15",
}
LEASE = float(SETTINGS["DW_LEASE_SECONDS"])
GRACE = float(SETTINGS["DW_RECONCILE_GRACE"])


# The makers themselves: a process of the product makes one of each.
_make_settings, _make_deployments, _make_hosts, _make_pulled_images, _make_pulls = (
    each.__wrapped__ for each in (settings, deployments, hosts, pulled_images, pulls)
)
_connected = worker.engine.client._connected  # noqa: SLF001


class Ground:
    """What stands in for time, Redis, engine, broker and chance; it leads to those of the world that is on."""

    def __init__(self):
        self.world = None
        self.rewrites = {}
        """By a script's name: a text in it, and what takes its place."""
        self._at = None
        self._kept = {}
        """What a process of each host keeps: that is a process of its own, and here all are one."""
        self.redis = SimulatedRedis(None, self._gate, self._rewritten)
        self.time = _Leading(lambda: self.world.time)
        self.random = _Leading(lambda: self.world.random)

    @contextmanager
    def under(self, world):
        """Have the product run in this world."""
        self.world, self.redis.keyspace = world, world.keyspace
        # What else is kept leads to this world by itself.
        self._kept = {(what, host): each for (what, host), each in self._kept.items() if what != "engine"}
        try:
            yield
        finally:
            self.world = None

    def forget(self):
        self._kept.clear()

    @contextmanager
    def at(self, host):
        """Be at a host, for who is no process of one."""
        before, self._at = self._at, host
        try:
            yield
        finally:
            self._at = before

    def _host(self):
        process = getattr(greenlet.getcurrent(), "process", None)
        return process.host if process else self._at or self.world.hosts[0]

    def _keep(self, what, make):
        key = what, self._host().name
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def settings(self):
        return self._keep("settings", lambda: _make_settings().model_copy(update={"host": self._host().name}))

    def deployments(self):
        return self._keep("deployments", _make_deployments)

    def hosts(self):
        return self._keep("hosts", _make_hosts)

    def pulled_images(self):
        return self._keep("pulled images", _make_pulled_images)

    def pulls(self):
        return self._keep("pulls", _make_pulls)

    def engine(self):
        return self._keep("engine", _connected)

    def heartbeat(self):
        return greenlet.getcurrent().process.heartbeat

    def send_task(self, *arguments, **named):
        return self.world.broker.send_task(*arguments, **named)

    def store_result(self, *arguments, **named):
        return self.world.results.store_result(*arguments, **named)

    def get_task_meta(self, task_id):
        return self.world.results.get_task_meta(task_id)

    def hook_answer(self, *told):
        return self.world.hooks.answer(*told)

    def engine_api(self, **_):
        return self._host().engine

    @contextmanager
    def streamed(self, api, method, path, *, params, interrupt, **_):
        """As `worker.engine.connection.streamed`: broken off, who waits for the engine goes on at once."""
        line = Line(self.world.scheduler)
        with interrupt.closing(line.shut_down), line.open():
            about = [f"{params['fromImage']}:{params['tag']}"] if "fromImage" in params else []
            yield getattr(api, method.lower())(path, *about)

    def driver(self):
        return greenlet.getcurrent().process.driver

    def holder(self):
        return greenlet.getcurrent().process.name

    def uuid1(self):
        return SimpleNamespace(hex=f"token-{self.world.random.getrandbits(64)}")

    def _gate(self, what, action):
        return self.world.effect("redis", what, action)

    def _rewritten(self, name, text):
        old, new = self.rewrites.get(name, ("", ""))
        assert old in text, f"{name}.lua has changed: {old!r} isn't in it"
        return text.replace(old, new) if old else text


class _Leading:
    """Has the attributes of what it leads to."""

    def __init__(self, find):
        self._find = find

    def __getattr__(self, name):
        return getattr(self._find(), name)


class _TimedDeployments(worker.store.Deployments):
    """A claim's own time is a default that was bound when its class was made: no patch of a module reaches it."""

    ground = None

    def claim(self, deployment_id, step):
        claim = super().claim(deployment_id, step)
        timed = claim and replace(claim, claimed=self.ground.time.monotonic())
        greenlet.getcurrent().claim = timed
        return timed


ground = Ground()
_TimedDeployments.ground = ground


@contextmanager
def installed():
    """Put the product on simulated ground."""
    configured = structlog.get_config()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, SETTINGS))
        stack.callback(forget)
        forget()
        for each in (
            patch.object(worker.store, "connection", lambda: ground.redis),
            patch.object(worker.store, "Deployments", _TimedDeployments),
            patch.object(worker.engine.client, "EngineApi", ground.engine_api),
            patch.object(worker.webhook, "_answer", ground.hook_answer),
            patch.object(app, "send_task", ground.send_task),
            patch.object(app.backend, "store_result", ground.store_result),
            patch.object(app.backend, "get_task_meta", ground.get_task_meta),
            patch.object(redis.lock, "mod_time", ground.time),
            patch.object(redis.lock, "uuid", ground),
            # A lock keeps its scripts with its class, and they may be a real Redis' by now.
            *(patch.object(redis.lock.Lock, f"lua_{each}", None) for each in ("release", "extend", "reacquire")),
            *_everywhere(settings, ground.settings),
            *_everywhere(deployments, ground.deployments),
            *_everywhere(hosts, ground.hosts),
            *_everywhere(pulled_images, ground.pulled_images),
            *_everywhere(pulls, ground.pulls),
            *_everywhere(engine, ground.engine),
            *_everywhere(worker.driver.driver, ground.driver),
            *_everywhere(worker.heartbeat.heartbeat, ground.heartbeat),
            *_everywhere(_holder, ground.holder),
            *_everywhere(streamed, ground.streamed),
            *_everywhere(time, ground.time),
            *_everywhere(random, ground.random),
        ):
            stack.enter_context(each)
        stack.callback(structlog.configure, **configured)
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
        )
        yield ground


def forget():
    """Drop what the product has made and kept, so that it is made anew."""
    ground.forget()
    credentials.cache_clear()


def _everywhere(original, substitute):
    """Patches of all modules of the product that know something, by whatever name."""
    return [
        patch.object(module, name, substitute)
        for module_name, module in sorted(sys.modules.items())
        if module_name.partition(".")[0] in {"worker", "tasks"}
        for name, value in list(vars(module).items())
        if value is original
    ]
