"""Hosts, each with an engine and worker processes, and what befalls them where a run has several; most have one."""

import random
from dataclasses import dataclass, field
from functools import partial

from tests.simulation import faults
from tests.simulation.engine import ONLY_HOST, EngineApi
from tests.simulation.images import GOOD
from tests.simulation.seams import LEASE, ground
from worker import rescue
from worker.record import Step
from worker.store import deployments, hosts

_NAMES = (ONLY_HOST, "east", "west")
_ONE_IN = 3
"""Of so many seeds one has several hosts."""
_STEPS = [
    *(
        Step.PULL,
        Step.CREATE,
        Step.DISPLACE,
        Step.START,
        Step.PROVE,
        Step.ALIAS,
        Step.CUTOVER,
        Step.PROMOTE,
        Step.DRAIN,
    ),
    *(Step.RETIRE, Step.VACATE, Step.REVERT, Step.UNDO, Step.REPORT),
    # In the middle of what matters most.
    *(Step.START, Step.PROVE, Step.PROMOTE, Step.VACATE),
]
_LATEST = 40.0
_SHARE_AWAY = 0.8
_SHARE_AWAY_AT_A_STEP = 0.7
_SHARE_AWAY_FOR_LONG = 0.7
_SHARE_WITHOUT_ENGINE = 0.4
_SHARE_CUT_OFF = 0.4
_SHARE_DRAINED = 0.3
_SHARE_FORGOTTEN = 0.3


@dataclass(eq=False)
class Host:
    """A host, and what has befallen it."""

    name: str
    engine: EngineApi
    engine_down: bool = False
    is_away: bool = False
    """All its processes are gone, and stay so."""
    is_to_wait: bool = False
    """Until all others are done."""
    waiting: list = field(default_factory=list)
    """Messages that nobody is there for."""
    missing: list = field(default_factory=list)
    """The names of processes that it has once it is back."""


class Hosts:
    """The hosts of a world, and what befalls them."""

    def __init__(self, world):
        self._world = world
        # Of its own, so that runs with one host are what they are without any of this.
        self.random = random.Random(f"hosts {world.seed}")
        names = _NAMES[: self.random.randint(2, len(_NAMES))] if world.seed % _ONE_IN == _ONE_IN - 1 else _NAMES[:1]
        self.all = [Host(each, self._made_engine(each)) for each in names]
        self.given_up = set()
        """Ids of deployments that were ended because their host was to be forgotten."""
        self.forgotten = set()
        """The names of hosts that ever were."""
        self._goes_away = self._goes_away_at = None
        self._comes_there = 0
        """How many deployments are yet to come to that step before it does."""

    def _made_engine(self, name):
        return EngineApi(self._world.clock, partial(self._world.effect, "engine"), name)

    def set_out(self, *, hurried):
        """Draw what happens when; only where nothing is asked for without end may a host stay away for long."""
        draw, after = self.random, self._world.scheduler.after
        for each in self.all[1:]:
            each.engine.create_network("further")
            each.engine.add_foreign("unmanaged", {}, GOOD[0])
        if draw.random() < _SHARE_AWAY:
            host = draw.choice(self.all)
            host.is_to_wait = hurried and draw.random() < _SHARE_AWAY_FOR_LONG
            self._goes_away = host
            if draw.random() < _SHARE_AWAY_AT_A_STEP:
                self._goes_away_at, self._comes_there = draw.choice(_STEPS), draw.choice((1, 2, 2, 3))
            after(_LATEST if self._goes_away_at else draw.uniform(0, _LATEST), self._go_away)
        if draw.random() < _SHARE_CUT_OFF:
            host, is_still = draw.choice(self.all), draw.random() < 0.5
            after(draw.uniform(0, _LATEST), lambda: self._cut_off(host, is_still=is_still))
        if draw.random() < _SHARE_DRAINED:
            name, began = draw.choice(self.all).name, draw.uniform(0, _LATEST)
            after(began, lambda: self._by_operator("drains", name, lambda: hosts().drain(name)))
            after(
                began + draw.uniform(0, _LATEST),
                lambda: self._by_operator("drains no more", name, lambda: hosts().end_drain(name)),
            )

    def note_step(self, step, name):
        """A deployment has come to a step on a host, which may be what that waited for to go away."""
        if step != self._goes_away_at or self._goes_away is None or name != self._goes_away.name:
            return
        self._comes_there -= 1
        if self._comes_there == 0:
            self._world.scheduler.after(self.random.uniform(0, 0.3), self._go_away)

    def return_at_last(self):
        """Have those come back that waited for all others to be done; whether there are any."""
        away = [each for each in self.all if each.is_away]
        for each in away:
            self._come_back(each)
        return bool(away)

    def _go_away(self):
        world, host, self._goes_away = self._world, self._goes_away, None
        if host is None:
            return
        world.story.tell("world", ("host", host.name, "goes away"))
        world.weather.suffered += faults.MUCH
        host.is_away = True
        for each in [each for each in world.workers if each.host is host]:
            world.bury(each)
        if self.random.random() < _SHARE_WITHOUT_ENGINE:
            world.weather.engine_restarts += 1
            world.stop_engine(host)
        if self.random.random() < _SHARE_FORGOTTEN:
            world.scheduler.after(self.random.uniform(LEASE, 4 * LEASE), lambda: self._forget(host))
        if not host.is_to_wait:
            world.scheduler.after(self.random.uniform(1, 10 * LEASE), lambda: self._come_back(host))

    def _come_back(self, host):
        world = self._world
        world.story.tell("world", ("host", host.name, "is back"))
        host.is_away = False
        if host.engine_down:
            world.restart_engine(host)
        names, host.missing[:] = host.missing[:], []
        for each in names:
            world.start_worker(each, host)
        messages, host.waiting[:] = host.waiting[:], []
        for each in messages:
            world.deliver(each)

    def _cut_off(self, host, *, is_still):
        """Have a host lose its Redis, or stand still, for longer than its leases last, and go on where it was."""
        world, until = self._world, self._world.clock.now + self.random.uniform(LEASE, 4 * LEASE)
        world.story.tell("world", ("host", host.name, "stands still" if is_still else "is cut off from Redis"))
        world.weather.suffered += faults.MUCH
        for each in [each for each in world.workers if each.host is host]:
            if is_still:
                each.paused_until = until
            else:
                each.cut_off_until = until

    def _forget(self, host):
        """As `dw forget` does."""
        seen = {each.name: each for each in self._at_any(lambda: hosts().all())}
        there = next((each.name for each in seen.values() if not each.is_away), None)
        if host.is_away and there and host.name in seen and seen[host.name].is_away:
            self._by_operator("forgets", host.name, lambda: self._give_up(host.name, there))

    def _give_up(self, name, there):
        self.given_up |= {each.id for each in deployments().stranded(name)}
        rescue.give_up(name, there)
        hosts().forget(name)
        self.forgotten.add(name)

    def _by_operator(self, does, name, action):
        self._world.story.tell("operator", (does, name))
        self._at_any(action)

    def _at_any(self, action):
        with ground.at(self.all[0]):
            return action()
