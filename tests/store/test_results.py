"""Results in Redis, each stored in one step, in the form that any Celery client reads."""

import uuid

import pytest
import redis
from celery import Celery
from celery.backends.redis import RedisBackend

from worker.backend import Backend


@pytest.fixture
def task_id(backend):
    made = str(uuid.uuid4())
    yield made
    backend.forget(made)


@pytest.fixture
def app(redis_url):
    with Celery("results", backend=redis_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def backend(app, redis_url):
    return Backend(app=app, url=redis_url)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's own
def test_a_result_is_what_celery_itself_would_have_stored(app, backend, redis_url, task_id):
    other = RedisBackend(app=app, url=redis_url)
    key = backend.get_key_for_task(task_id)
    found = []
    for each in (backend, other):
        each.store_result(task_id, {"step": "pull"}, "PROGRESS")
        found.append((each.client.get(key), each.client.ttl(key)))
    assert found[0] == found[1]


def test_a_result_is_told_to_who_waits_for_it(app, backend, task_id):
    backend.store_result(task_id, {"step": "pull"}, "PROGRESS")
    awaited = app.AsyncResult(task_id)
    backend.store_result(task_id, {"state": "live"}, "SUCCESS")
    assert awaited.get(timeout=5) == {"state": "live"}


def test_nothing_takes_the_place_of_a_success_and_anything_that_of_all_else(backend, task_id):
    backend.store_result(task_id, ValueError("too late"), "FAILURE")
    for state in ("PROGRESS", "FAILURE", "SUCCESS"):
        backend.store_result(task_id, ValueError("x") if state == "FAILURE" else {"said": state}, state)
        assert backend.get_state(task_id) == state
    backend.store_result(task_id, {"step": "pull"}, "PROGRESS")
    backend.store_result(task_id, ValueError("too late"), "FAILURE")
    assert backend.get_result(task_id) == {"said": "SUCCESS"}


def test_a_result_that_only_speaks_of_a_success_is_none(backend, task_id):
    backend.store_result(task_id, {"status": "SUCCESS"}, "PROGRESS")
    backend.store_result(task_id, {"step": "pull"}, "PROGRESS")
    assert backend.get_result(task_id) == {"step": "pull"}


@pytest.mark.parametrize("there", ["", "no JSON", "[]", "7"])
def test_what_is_no_result_is_written_over(backend, task_id, there):
    backend.client.set(backend.get_key_for_task(task_id), there)
    backend.store_result(task_id, {"step": "pull"}, "PROGRESS")
    assert backend.get_result(task_id) == {"step": "pull"}


def test_what_is_no_text_is_said_to_be_that(backend, task_id):
    backend.client.lpush(backend.get_key_for_task(task_id), "x")
    with pytest.raises(redis.ResponseError, match=r"^WRONGTYPE"):
        backend.store_result(task_id, {"step": "pull"}, "PROGRESS")
