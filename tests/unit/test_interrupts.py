"""An interrupt ends waits of now and of later, and takes the place of the error that its close brings about."""

import threading

import pytest

from worker.interrupt import Interrupt, Interrupted


@pytest.fixture
def interrupt():
    return Interrupt()


def test_unless_it_is_set_it_is_no_matter(interrupt):
    closed = threading.Event()
    with interrupt.closing(closed.set):
        pass
    interrupt.set()
    assert not closed.is_set()


def test_what_a_block_raises_of_itself_is_left_alone(interrupt):
    with pytest.raises(KeyError), interrupt.closing(lambda: None):
        raise KeyError
    interrupt.set()


def test_what_waits_is_closed_from_another_thread(interrupt):
    waits, closed = threading.Event(), threading.Event()

    def wait():
        with interrupt.closing(closed.set):
            waits.set()
            assert closed.wait(5)
            raise OSError("closed")

    threading.Thread(target=lambda: (waits.wait(5), interrupt.set())).start()
    with pytest.raises(Interrupted) as caught:
        wait()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_block_that_ends_well_although_it_was_closed_is_interrupted_too(interrupt):
    with pytest.raises(Interrupted), interrupt.closing(lambda: None):
        interrupt.set()


def test_what_begins_to_wait_later_does_not_begin(interrupt):
    interrupt.set()
    with pytest.raises(Interrupted), interrupt.closing(lambda: None):
        pytest.fail("it began")
    assert interrupt.is_set()


def test_all_that_wait_are_closed_once(interrupt):
    closed = []

    def wait():
        with interrupt.closing(lambda: closed.append("outer")), interrupt.closing(lambda: closed.append("inner")):
            interrupt.set()
            interrupt.set()

    with pytest.raises(Interrupted):
        wait()
    assert closed == ["outer", "inner"]
