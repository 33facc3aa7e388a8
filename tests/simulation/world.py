"""One run: a seed's hosts, workers, Redis, messages and clients, from the first deployment to quiet."""

import random
from types import SimpleNamespace

import greenlet

from tests.simulation import clients, faults
from tests.simulation.clock import Clock
from tests.simulation.faults import Fate, Weather
from tests.simulation.hook import Hooks
from tests.simulation.hosts import Hosts
from tests.simulation.images import GOOD
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.keyspace import Keyspace
from tests.simulation.messages import Broker, Message, Results
from tests.simulation.scheduler import Activity, Killed, Scheduler
from tests.simulation.seams import GRACE, LEASE
from tests.simulation.story import Story
from tests.simulation.workers import Worker
from worker.celery import Lane, app
from worker.record import ON_FAILURE, Step

_STORM = 30.0
_LATEST = 20.0
_MOST_EVENTS = 60_000
_SAID_AGAIN = 10
PREFIX = "dw:simulated:"
# Seconds that an effect takes: mostly, and now and then.
_USUALLY = {"redis": 0.001, "results": 0.001, "broker": 0.001, "engine": 0.02, "hook": 0.05}
_TAKE_LONG = {"start": 0.3, "remove_container": 0.2, "stop": 0.5, "pull": 1.5}
_MAKES = {"create_container", "create_container_from_config"}
_SELDOM, _LONG = 0.03, 1.0
# How often the engine is killed at a start, by the step; as the old version is seldom started again, often then.
_LOOKS_LONG_BEFORE = 0.5
_HALF_STARTED = {Step.START: 0.05, Step.REVERT: 0.5, Step.UNDO: 0.5}


class World:
    """All that a seed decides."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random.Random(seed)
        # Of its own, so that what it befalls has no part in what else befalls a run.
        self._dice = random.Random(f"half-started {seed}")
        self.clock = Clock()
        self.story = Story(self.clock)
        self.scheduler = Scheduler(self.clock)
        self.time = SimpleNamespace(monotonic=self.clock.monotonic, time=self.clock.time, sleep=self.scheduler.sleep)
        self.keyspace = Keyspace(self.clock)
        self.places = Hosts(self)
        self.hosts = self.places.all
        self.hooks = Hooks(self)
        self.broker = Broker(self)
        self.results = Results(self)
        self.weather = Weather.drawn(self.random)
        self.asked = clients.draw(self.random)
        if len(self.hosts) > 1:
            self.asked, self._is_hurried = clients.draw_moving(self.places.random, [each.name for each in self.hosts])
            self.weather.ease(self.places.random)
        self.cancels = clients.draw_cancels(self.random, self.asked)
        self._cancels_sent = 0
        self.workers = []
        self.invariants = Invariants(self)

    # The run

    def run(self):
        """Let it all happen; raises Violation."""
        self._set_out()
        self._await_quiet()
        self.invariants.check_ended()
        if self.places.return_at_last():
            self._await_quiet()
        self._reconcile_at_last()
        self.invariants.check_end()
        self._say_everything_again()
        self.invariants.check_end()

    def _await_quiet(self):
        events = 0
        while not self._is_quiet():
            self.scheduler.step()
            self.invariants.check()
            events += 1
            if events > _MOST_EVENTS:
                raise Violation(f"not quiet after {events} events")

    def _set_out(self):
        self.hosts[0].engine.create_network("further")
        self._put_foreign_containers()
        for number in range(1, self.random.randint(1, 3) + 1):
            self.start_worker(f"w{number}", self.hosts[0])
        for host in self.hosts[1:]:
            for number in range(1, self.places.random.randint(1, 2) + 1):
                self.start_worker(f"{host.name}{number}", host)
        if len(self.hosts) > 1:
            self.places.set_out(hurried=self._is_hurried)
        for asked in self.asked:
            message = Message("docker.deploy", asked.id, asked.arguments)
            # Other hosts are known once they have said that they are there.
            seconds = asked.after + (len(self.hosts) > 1)
            self.scheduler.after(seconds, lambda message=message: self.broker.put(message))
        for when, deployment_id in self.cancels:
            if not isinstance(when, Step):
                self._cancel_after(when, deployment_id)
        for _ in range(self.weather.engine_restarts):
            host = self.places.random.choice(self.hosts)
            seconds = self.random.uniform(0, _STORM)
            self.scheduler.after(seconds, lambda host=host: self._have_engine_restart(host))
        if self.weather.loses_redis:
            self.scheduler.after(self.random.uniform(0, _STORM), self._lose_redis)
        self.scheduler.after(_STORM, self._clear_up)

    def _cancel_after(self, seconds, deployment_id):
        self._cancels_sent += 1
        message = Message("docker.cancel", f"c{self._cancels_sent}", {"deployment_id": deployment_id})
        self.scheduler.after(seconds, lambda: self.broker.put(message))

    def note_step(self, deployment_id, step, host):
        """A deployment has come to a step: somebody may have waited for that."""
        self.places.note_step(step, host)
        for each in [each for each in self.cancels if each == (step, deployment_id)]:
            self.cancels.remove(each)
            self._cancel_after(self.random.uniform(0, 0.1), deployment_id)

    def _put_foreign_containers(self):
        def labels(namespace):
            prefix = "docker-watcher."
            return {
                f"{prefix}namespace": namespace,
                f"{prefix}project": "shop",
                f"{prefix}stage": "live",
                f"{prefix}deployment-id": "d1",
            }

        engine = self.hosts[0].engine
        engine.add_foreign("dw-shop-live-9", labels("other"), GOOD[0])
        engine.add_foreign(self.random.choice(("unmanaged", "dw-shop-test-2")), {}, GOOD[0])

    def _clear_up(self):
        self.story.tell("world", ("faults", "end"))
        self.weather.cleared_up = True

    def _is_quiet(self):
        return (
            self.weather.cleared_up
            and not self.scheduler.outstanding
            and all(self.next_alarm(each) == float("inf") for each in self.hosts)
            and not any(each.engine_down and not each.is_away for each in self.hosts)
        )

    def _reconcile_at_last(self):
        """Reconcile once more when nothing is too young for that, as happens sooner or later."""
        self.clock.now += GRACE
        for each in self.hosts:
            # It has gone on all the while.
            self.keyspace.zadd("dw:simulated:hosts:seen", str(self.clock.now), each.name)
            queue = Lane.WORK.queue("simulated", each.name) if len(self.hosts) > 1 else None
            self.broker.put(Message("docker.reconcile", f"reconcile {each.name} at last", queue=queue))
        self._await_quiet()

    def _say_everything_again(self):
        """Deliver copies of messages once more: none may matter."""
        before = self.engine_changes
        told = [
            each
            for each in self.broker.delivered
            if each.task != "docker.deploy" or each.id in self.invariants.accepted
        ]
        for message in self.random.sample(told, min(len(told), _SAID_AGAIN)):
            self.deliver(message)
        while self.scheduler.outstanding:
            self.scheduler.step()
            self.invariants.check()
        if self.engine_changes != before and not self.invariants.has_hopeless:
            raise Violation("a copy of an old message changed something")

    @property
    def engine_changes(self):
        """How often anything was changed on any engine."""
        return sum(each.engine.changes for each in self.hosts)

    def next_alarm(self, host):
        """When a host's drivers have something to send."""
        return min((self.keyspace.peek(f"{PREFIX}alarms:{host.name}") or {"": float("inf")}).values())

    def is_to_be_broken_off(self, claim):
        """Whether the driver that watches over this claim has yet to see that it was cancelled."""
        record = self.keyspace.peek(f"{PREFIX}deployment:{claim.id}") or {}
        return "cancel" in record and claim.step in ON_FAILURE and claim.broken_off is None

    def is_to_be_reconciled(self, host):
        return self.keyspace.peek(f"{PREFIX}reconciled:{host.name}") is None

    def close(self):
        """Let go of what still waits."""
        for worker in self.workers:
            self.scheduler.kill(worker)

    # Effects

    def effect(self, system, what, action):
        """Have an activity do something to the world, sooner or later, and tell how it went."""
        activity = greenlet.getcurrent()
        if not isinstance(activity, Activity):
            return self.invariants.watched(system, what, action)
        process = activity.process
        if not process.alive:
            raise Killed
        fate = self.weather.fate(self.random, system)
        self._sleep_before(activity, system, what, action, fate)
        if fate is Fate.KILLED_BEFORE:
            self._die(process, what, fate)
        try:
            failed = self._prevented(activity, system, what, fate)
            if not failed and fate is Fate.LOST_REPLY and what[0] in _MAKES:
                failed = faults.error(system, fate)
                self._do_without_reply(process.host, what, action)
            answer = None if failed else self.invariants.watched(system, what, action)
        except faults.EXPECTED as error:
            self.story.tell(process.name, what, repr(error))
            raise
        if fate is Fate.KILLED_AFTER:
            self._die(process, what, fate)
        if fate is Fate.LOST_REPLY:
            failed = faults.error(system, fate)
        self.story.tell(process.name, what, f"{fate.name.lower()}: {failed!r}" if failed and fate else failed or answer)
        if failed:
            raise failed
        return answer

    def _sleep_before(self, activity, system, what, action, fate):
        seconds = _TAKE_LONG.get(what[0], _USUALLY[system]) * self.random.random()
        if self.random.random() < _SELDOM:
            seconds += self.random.uniform(0, _LONG)
        if what[0] == "abandon" and self._dice.random() < _LOOKS_LONG_BEFORE:
            # What it has seen of the host that is away may be different by now.
            seconds += self._dice.uniform(0, 4 * LEASE)
        if fate is Fate.SLOW:
            seconds += self.random.uniform(0, 4 * LEASE)
        if fate is Fate.STALLED:
            activity.process.paused_until = self.clock.now + self.random.uniform(LEASE, 4 * LEASE)
            self.story.tell(activity.process.name, what, "stands still before it")
        if fate is Fate.CUT_OFF:
            activity.process.cut_off_until = self.clock.now + self.random.uniform(LEASE, 3 * LEASE)
            self.story.tell(activity.process.name, what, "is cut off from Redis")
        activity.calling = (what, action) if system in {"engine", "hook"} else None
        self.scheduler.sleep(seconds)
        activity.calling = None

    def _prevented(self, activity, system, what, fate):
        """The error that keeps an effect from being done."""
        process, call = activity.process, what[0]
        if fate in {Fate.REFUSED, Fate.FAILED_INSIDE}:
            return faults.error(system, fate)
        if activity.line and activity.line.is_shut_down and system == "engine":
            return faults.error(system, Fate.LOST_REPLY)
        if system == "engine" and (process.host.engine_down or self._harms_as_late(activity, call)):
            return faults.error(system, Fate.REFUSED)
        if call == "start" and activity.claim and self._dice.random() < _HALF_STARTED[activity.claim.step]:
            self.weather.suffered += faults.MUCH
            process.host.engine.lose_track_of(what[1])
            return faults.error(system, Fate.LOST_REPLY)
        if system not in {"engine", "hook"} and process.cut_off_until > self.clock.now:
            return faults.error(system, Fate.REFUSED)
        return None

    def _harms_as_late(self, activity, call):
        """Whether it would do to the version that serves what was right until another worker went on.

        Nobody can take back a call that was made in time and comes to the engine long after, as one by who stood still
        between its last look at its lease and the call: of these it isn't promised that they do no harm.
        """
        is_of_another = call in {"stop", "update_container"} or (
            call == "start" and activity.claim and activity.claim.step in {Step.REVERT, Step.UNDO}
        )
        return is_of_another and self.is_stale()

    def is_stale(self):
        """Whether somebody else has claimed the step that the present activity is at, and it goes on."""
        claim = greenlet.getcurrent().claim
        record = claim and self.keyspace.peek(f"{PREFIX}deployment:{claim.id}")
        return bool(record) and int(record["fence"]) != claim.fence

    # Processes and the engine

    def deliver(self, message):
        host = next((each for each in self.hosts if each.name == message.host), None)
        alive = [each for each in self.workers if each.alive and host in {None, each.host}]
        if not alive and host and host.is_away:
            host.waiting.append(message)
            return
        if not alive:
            self.scheduler.after(1, lambda: self.deliver(message))
            return
        if message.task in app.tasks:
            self.broker.delivered.append(message)
            self.random.choice(alive).take(message)

    def deliver_again(self, message):
        """Have an unacknowledged message come once more, after its lease or, at another broker, a long while."""
        self.broker.put_back(message, self.random.uniform(1, 120))

    def start_worker(self, name, host):
        if host.is_away:
            host.missing.append(name)
        else:
            self.workers.append(Worker(self, name, host))

    def _die(self, process, what, fate):
        self.story.tell(process.name, what, f"dies {'before' if fate is Fate.KILLED_BEFORE else 'after'} it")
        self.scheduler.after(0, lambda: self.bury(process))
        process.alive = False
        self.scheduler.hand_over()

    def bury(self, process):
        """Have a process be gone, and another one start in its place."""
        if process not in self.workers:
            return
        for activity in process.activities:
            # The engine may have been told already.
            if activity.calling and self.random.random() < 0.5:
                self._do_without_reply(process.host, *activity.calling)
        self.scheduler.kill(process)
        self.workers.remove(process)
        for message in process.at_work_on.values():
            self.deliver_again(message)
        self.scheduler.after(self.random.uniform(0.5, 5), lambda: self.start_worker(f"{process.name}'", process.host))

    def _do_without_reply(self, host, what, action):
        # One that hangs may get to it much later. Only of making something is that promised to do no harm.
        if what[0] in _MAKES and self.random.random() < 0.5:
            self.scheduler.after(self.random.uniform(0, _LATEST), lambda: self._do_now(host, action))
        else:
            self._do_now(host, action)

    def _do_now(self, host, action):
        if host.engine_down:
            return
        try:
            action()
        except faults.EXPECTED as error:
            self.story.tell("engine", ("done", "though nobody hears of it"), repr(error))
        else:
            self.story.tell("engine", ("done", "though nobody hears of it"))

    def _lose_redis(self):
        self.story.tell("redis", ("is empty",))
        self.weather.suffered += faults.MUCH
        self.invariants.forget()
        self.keyspace.lose()
        self.broker.lose()
        self.results.stored.clear()

    def _have_engine_restart(self, host):
        self.stop_engine(host)
        self.scheduler.after(self.random.uniform(0.5, 8), lambda: self.restart_engine(host))

    def stop_engine(self, host):
        self.story.tell("engine", ("stops", host.name))
        self.weather.suffered += faults.MUCH
        host.engine_down = True
        host.engine.stop_all()

    def restart_engine(self, host):
        """Start it again, unless the whole host is away: then it starts with that."""
        if host.engine_down and not host.is_away:
            host.engine_down = False
            host.engine.start_again(self.random)
            self.story.tell("engine", ("starts again", host.name))
