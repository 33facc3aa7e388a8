"""Whose turn it is: activities are greenlets that sleep until a simulated time, and go on one at a time."""

import heapq
from contextlib import contextmanager

import greenlet


class Killed(greenlet.GreenletExit):
    """An activity's process is gone: nothing may catch this, and nothing more has an effect."""


class Activity(greenlet.greenlet):
    """Something that a process does, side by side with others."""

    def __init__(self, process, run):
        super().__init__(run)
        self.process = process
        self.turn = 0
        """Counts its sleeps, so that what was to end one doesn't end the next."""
        self.line = None
        """The connection to the engine that is its own."""
        self.claim = None
        """The last step that it has claimed."""
        self.calling = None
        """What engine call it is about to make, and its action: the engine may see to it even if the process dies."""


class Scheduler:
    """What happens when; at one time, in the order in which it was put down."""

    def __init__(self, clock):
        self._clock = clock
        self._events = []
        self._count = 0
        self.outstanding = 0
        """Events to come, without naps that end in nothing but the next one."""

    def at(self, when, happen, *, idle=False):
        self._count += 1
        self.outstanding += not idle
        heapq.heappush(self._events, (when, self._count, idle, happen))

    def after(self, seconds, happen, *, idle=False):
        self.at(self._clock.now + seconds, happen, idle=idle)

    def step(self):
        """Let the next event happen; an error in it comes out here."""
        when, _, idle, happen = heapq.heappop(self._events)
        self.outstanding -= not idle
        self._clock.now = max(self._clock.now, when)
        happen()

    def spawn(self, process, run):
        activity = Activity(process, run)
        process.activities[activity] = None
        self.after(0, lambda: self.go_on(activity, 0))
        return activity

    def sleep(self, seconds):
        """Have the activity that calls this go on later."""
        activity = greenlet.getcurrent()
        activity.turn += 1
        turn = activity.turn
        self.after(seconds, lambda: self.go_on(activity, turn))
        self.hand_over()

    def wake(self, activity):
        """Have an activity that sleeps go on now."""
        turn = activity.turn
        self.after(0, lambda: self.go_on(activity, turn))

    def hand_over(self):
        """Have the activity that calls this go on when somebody says so."""
        greenlet.getcurrent().parent.switch()

    def go_on(self, activity, turn):
        process = activity.process
        if activity.turn != turn or not process.alive:
            return
        if process.paused_until > self._clock.now:
            self.at(process.paused_until, lambda: self.go_on(activity, turn))
            return
        activity.parent = greenlet.getcurrent()
        activity.switch()
        if activity.dead:
            process.activities.pop(activity, None)

    def kill(self, process):
        """End a process' activities where they are."""
        process.alive = False
        for activity in list(process.activities):
            activity.parent = greenlet.getcurrent()
            if activity:
                activity.throw(Killed)
        process.activities.clear()


class Line:
    """A connection that an activity has to itself; once it is shut down, all that is asked of the engine fails."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self._activity = greenlet.getcurrent()
        self.is_shut_down = False

    @contextmanager
    def open(self):
        self._activity.line = self
        try:
            yield
        finally:
            self._activity.line = None

    def shut_down(self):
        self.is_shut_down = True
        if self._activity.calling:
            self._scheduler.wake(self._activity)


class Bell:
    """What a driver naps by, instead of an event between threads."""

    def __init__(self, scheduler, may_sleep_on):
        self._scheduler = scheduler
        self._may_sleep_on = may_sleep_on
        self._rung = False
        self._napper = None
        self._turn = 0

    def wait(self, seconds):
        if self._rung:
            return
        self._napper = greenlet.getcurrent()
        self._napper.turn += 1
        self._turn = self._napper.turn
        self._nap(self._turn, seconds)
        self._scheduler.hand_over()

    def _nap(self, turn, seconds):
        def end():
            if self._napper.process.alive and turn == self._napper.turn and self._may_sleep_on():
                self._nap(turn, seconds)
            else:
                self._scheduler.go_on(self._napper, turn)

        self._scheduler.after(seconds, end, idle=True)

    def set(self):
        self._rung = True
        if self._napper is not None and self._napper is not greenlet.getcurrent():
            napper, turn = self._napper, self._turn
            self._scheduler.after(0, lambda: self._scheduler.go_on(napper, turn))

    def clear(self):
        self._rung = False


class Pulse(Bell):
    """What a thread waits by that looks at something again and again."""

    @staticmethod
    def is_set():
        """Whoever has the thread end means it."""
        return True
