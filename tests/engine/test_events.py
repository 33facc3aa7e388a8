"""Listening to what happens to managed containers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.interrupt import Interrupt, Interrupted

ENDS = ["/bin/busybox", "false"]


@pytest.fixture
def heard(engine):
    """The events that the engine tells while a test runs; `told` has the test await the next one."""
    with Listener(engine) as listener:
        yield listener


class Listener:
    def __init__(self, engine):
        self.events = []
        self._engine = engine
        self._interrupt = Interrupt()
        self._came = threading.Condition()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self):
        self._ended = self._thread.submit(self._listen)
        return self

    def __exit__(self, *_):
        self._interrupt.set()
        assert isinstance(self._ended.exception(5), Interrupted)
        self._thread.shutdown()

    def _listen(self):
        for event in self._engine.containers.events(quiet=30, interrupt=self._interrupt):
            with self._came:
                self.events.append(event)
                self._came.notify_all()

    def of(self, container, action, again=lambda: None):
        """Await an event of a container; `again` has it happen once more, as nobody may have listened yet."""
        with self._came:
            for _ in range(60):
                found = [each for each in self.events if (each.id, each.action) == (container, action)]
                if found:
                    return found[0]
                again()
                self._came.wait(0.5)
        pytest.fail(f"{action} of {container} was not heard")


def test_the_end_of_a_managed_container_is_heard_with_its_labels(heard, engine, create):
    labels = engine.containers.labels.select(project="shop", stage="test", deployment="d1")
    container = create(command=ENDS, labels=labels)
    died = heard.of(container.id, "die", again=lambda: engine.containers.start(container))
    assert engine.containers.labels.deployment_of(died) == "d1"


def test_a_change_of_health_is_heard_and_its_checks_are_not(heard, engine, create):
    container = create()
    ended = create(command=ENDS, name=f"{container.name}-ended")
    heard.of(ended.id, "die", again=lambda: engine.containers.start(ended))
    engine.containers.start(container)
    heard.of(container.id, "health_status: healthy")
    engine.containers.remove(container, force=True)
    heard.of(container.id, "destroy")
    told = [(each.action, each.is_decisive) for each in heard.events if each.id == container.id]
    assert told == [("start", False), ("health_status: healthy", True), ("die", True), ("destroy", False)]


def test_containers_of_others_are_not_heard(heard, engine, create, raw):
    ours = create(command=ENDS)
    another = {**ours.labels, "docker-watcher.namespace": "another"}
    theirs = create(command=ENDS, name=f"{ours.name}-theirs", labels=another)

    def again():
        engine.containers.start(theirs)
        raw.wait(theirs.id)
        engine.containers.start(ours)

    heard.of(ours.id, "die", again)
    assert {each.id for each in heard.events} == {ours.id}
    engine.containers.remove(theirs, force=True)


def test_listening_ends_after_silence(engine):
    assert list(engine.containers.events(quiet=0.5)) == []
