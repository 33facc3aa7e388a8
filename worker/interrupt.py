"""Telling a thread that waits for somebody else's answer to stop, from another thread and at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """What waited was told to stop. That is no failure, and no error of the contract."""


class Interrupt:
    """Set once, by any thread and for good; what others wait on inside `closing` is closed by that."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_set = False
        self._closers: list[Callable[[], None]] = []

    def set(self) -> None:
        """Break off whatever waits, now and later; a second time does nothing."""
        # The guard stays held, so that no block ends, and lets go of what `close` is for, while that runs.
        with self._guard:
            if not self._is_set:
                self._is_set = True
                for close in self._closers:
                    close()

    def is_set(self) -> bool:
        return self._is_set

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """Have `set` call `close` while the block runs: that must end the block's wait, and neither wait nor raise.

        Raises Interrupted: before the block if it was set already, and after it, in place of whatever error `close`
        brought about, if it was set meanwhile.
        """
        with self._guard:
            if self._is_set:
                raise Interrupted
            self._closers.append(close)
        try:
            yield
        except Exception as error:
            if self._is_set:
                raise Interrupted from error
            raise
        finally:
            with self._guard:
                self._closers.remove(close)
        if self._is_set:
            raise Interrupted


class Interruptible:
    """What this process is at and can be broken off, by the ids of its tasks."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # A task may run beside its copy.
        self._running: list[tuple[str, Interrupt]] = []
        self.is_ending = False
        """The process ends: what is broken off is for another one to do."""

    @contextmanager
    def running(self, task_id: str) -> Iterator[Interrupt]:
        """Have a task be broken off by its id while the block runs."""
        interrupt = Interrupt()
        with self._guard:
            self._running.append((task_id, interrupt))
            if self.is_ending:
                interrupt.set()
        try:
            yield interrupt
        finally:
            with self._guard:
                self._running.remove((task_id, interrupt))

    def break_off(self, task_id: str) -> None:
        """Break this task off, if it runs here."""
        self._set(lambda running: running == task_id)

    def break_off_all(self) -> None:
        """Break off whatever runs, now and later: the process ends."""
        with self._guard:
            self.is_ending = True
        self._set(lambda _: True)

    def _set(self, is_meant: Callable[[str], bool]) -> None:
        with self._guard:
            meant = [interrupt for task_id, interrupt in self._running if is_meant(task_id)]
        for interrupt in meant:
            interrupt.set()


interruptible = Interruptible()
"""The tasks of this process that aren't a deployment's steps; those have their claims."""
