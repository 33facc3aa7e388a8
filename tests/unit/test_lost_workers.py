"""When a message that was given out again is refused."""

from types import SimpleNamespace

import pytest
import redis

import tasks.base
from tasks import list as task
from worker.celery import app
from worker.errors import EngineUnavailable

TASK = app.tasks["docker.list"]


@pytest.fixture
def counted(monkeypatch):
    """The count that Redis gives, or the error; `asked` are the ids that it was asked for."""
    counted = SimpleNamespace(answer=5, asked=[])

    def count(task_id):
        counted.asked.append(task_id)
        if isinstance(counted.answer, Exception):
            raise counted.answer
        return counted.answer

    monkeypatch.setattr(tasks.base, "redeliveries", lambda: SimpleNamespace(count=count))
    return counted


@pytest.fixture
def deliver():
    """Have the task be called with a message that was given out before, or not."""
    assert task
    yield lambda redelivered: TASK.push_request(id="7", delivery_info={"redelivered": redelivered})
    TASK.pop_request()


def test_the_fifth_lost_worker_is_the_last(counted, deliver):
    deliver(redelivered=True)
    counted.answer = 4
    tasks.base.check_redelivery(TASK)
    counted.answer = 5
    with pytest.raises(EngineUnavailable, match="gave it back, 5 times"):
        tasks.base.check_redelivery(TASK)


def test_a_first_delivery_is_not_counted(counted, deliver):
    deliver(redelivered=False)
    tasks.base.check_redelivery(TASK)
    assert counted.asked == []


def test_a_redis_that_cannot_be_asked_is_no_reason_to_refuse(counted, deliver):
    deliver(redelivered=True)
    counted.answer = redis.ConnectionError("gone")
    tasks.base.check_redelivery(TASK)
    assert counted.asked == ["7"]
