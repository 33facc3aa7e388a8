"""What a worker says of itself at `GET /health`: by the beats of its own loops, and a clock."""

import pytest
from celery.signals import heartbeat_sent

from worker.heartbeat import heartbeat
from worker.metrics.health import Health
from worker.settings import settings


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(heartbeat(), "spoke_at", None)
    return Clock()


def test_a_worker_that_has_not_begun_yet_is_not_well(clock):
    health = Health(clock)
    assert health.trouble() == "the event loop has not begun yet"
    heartbeat_sent.send(sender=None)
    assert health.trouble() == "the heartbeat has not begun yet"
    heartbeat().spoke_at = clock.now
    assert health.trouble() is None


@pytest.mark.parametrize("standing", ["event loop", "heartbeat"])
def test_what_stands_still_is_named_once_its_host_would_count_as_away(clock, standing):
    health = Health(clock)
    heartbeat_sent.send(sender=None)
    heartbeat().spoke_at = clock.now
    clock.now += settings().away_seconds
    assert health.trouble() is None
    if standing == "heartbeat":
        heartbeat_sent.send(sender=None)
    else:
        heartbeat().spoke_at = clock.now
    clock.now += 10
    seconds = f"{settings().away_seconds + 10:.0f}"
    assert health.trouble() == f"the {standing} has stood still for {seconds} s: see this worker's log"
