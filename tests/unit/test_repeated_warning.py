import pytest
import structlog
from structlog.testing import capture_logs

from worker.log import RepeatedWarning


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def waits(clock):
    return RepeatedWarning(structlog.get_logger(), "waits_for_redis", clock)


@pytest.fixture
def said():
    with capture_logs() as lines:
        yield lines


def test_what_goes_on_is_said_once_a_minute(waits, clock, said):
    for _ in range(130):
        waits.say(error="refused")
        clock.now += 1
    assert said == [{"event": "waits_for_redis", "error": "refused", "log_level": "warning"}] * 3


def test_what_changes_is_said_at_once(waits, said):
    for error in ("refused", "refused", "timed out", "timed out", "refused"):
        waits.say(error=error)
    assert [each["error"] for each in said] == ["refused", "timed out", "refused"]


def test_what_begins_anew_is_said_at_once(waits, said):
    waits.say(error="refused")
    waits.over()
    waits.say(error="refused")
    assert len(said) == 2
