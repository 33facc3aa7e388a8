"""Worker processes: what Celery does with a message, and the driver that runs beside."""

from celery import _state
from celery.exceptions import Ignore, Reject, Retry
from celery.signals import task_received
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.simulation.scheduler import Bell, Pulse
from tests.simulation.seams import LEASE, ground
from worker.celery import app
from worker.driver import driver
from worker.errors import DeploymentError
from worker.heartbeat import heartbeat

_EXPECTED = (DeploymentError, RedisError, OperationalError)
"""What a task may raise without being broken; Celery takes it for a failure, and the message for done."""
_LONGEST_IDLE = 5.0
# The maker itself: a process of the product makes one driver, a simulated one has many processes.
_new_driver = driver.__wrapped__
_new_heartbeat = heartbeat.__wrapped__


class Worker:
    """A worker process."""

    def __init__(self, world, name, host):
        self.name = name
        self.host = host
        self.alive = True
        self.paused_until = 0.0
        self.cut_off_until = 0.0
        self.activities = {}
        self.at_work_on = {}
        self._world = world
        with ground.at(host):
            self.driver = self._make_driver()
            self.heartbeat = self._make_heartbeat()
        self._looked = 0.0
        self._seen = host.engine.changes
        world.scheduler.spawn(self, self.driver._look_on)  # noqa: SLF001  # its thread's loop, without the thread
        if len(world.hosts) > 1:
            world.scheduler.spawn(self, self.heartbeat._run)  # noqa: SLF001

    def _make_heartbeat(self):
        made = _new_heartbeat()
        vars(made).update(_stopping=Pulse(self._world.scheduler, self._may_miss_a_beat))
        return made

    def _may_miss_a_beat(self):
        """Whether a look by the heartbeat would find nothing to do."""
        made, now = vars(self.heartbeat), self._world.clock.now
        if self.host.engine.changes != self._seen:
            # As the watcher does, which isn't simulated.
            self._seen = self.host.engine.changes
            self.heartbeat.something_changed()
        return now < made["_beat_at"] and (not made["_changed"] or now < made["_tell_at"])

    def _make_driver(self):
        made = _new_driver()
        bell = Bell(self._world.scheduler, self._may_sleep_on)
        # A thread that is there already isn't started.
        vars(made).update(_woken=bell, _thread=bell)
        return made

    def _may_sleep_on(self):
        """Whether a look by the driver would find nothing, as most do."""
        now = self._world.clock.now
        held = vars(self.driver)["_held"]
        longest = LEASE / 3 if held else _LONGEST_IDLE
        if (
            self._world.next_alarm(self.host) <= now
            or self._world.is_to_be_reconciled(self.host)
            or any(map(self._world.is_to_be_broken_off, held))
            or now - self._looked >= longest
        ):
            self._looked = now
            return False
        return True

    def take(self, message):
        activity = self._world.scheduler.spawn(self, lambda: self._work(activity, message))
        self.at_work_on[activity] = message

    def _work(self, activity, message):
        task = app.tasks[message.task]
        _state.push_current_task(task)
        task.push_request(**message.request(self.name))
        try:
            task_received.send(sender=self, request=message)
            outcome = self._run(task, message)
        finally:
            task.pop_request()
            _state.pop_current_task()
            if self.alive:
                del self.at_work_on[activity]
        self._world.story.tell(self.name, (message.task, message.id), outcome)

    def _run(self, task, message):
        try:
            answer = task.run(**message.arguments)
        except Ignore:
            return "goes on by itself"
        except Retry as retry:
            self._store(task, message, retry.exc, "RETRY")
            return "tries again"
        except Reject as reject:
            if reject.requeue:
                self._world.deliver_again(message)
            return f"is rejected: {reject}"
        except _EXPECTED as error:
            self._store(task, message, error, "FAILURE")
            return f"raised {error!r}"
        if task.request.ignore_result:
            return str(answer)
        self._world.invariants.note_answer(message, answer)
        self._store(task, message, answer, "SUCCESS")
        return str(answer)

    def _store(self, task, message, result, state):
        if task.ignore_result:
            return
        try:
            self._world.results.store_result(message.id, result, state)
        except RedisError as error:
            self._world.story.tell(self.name, ("result of", message.task, message.id), repr(error))
