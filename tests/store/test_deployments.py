"""Records: who may do what, and when; on a real Redis, and on the one of the simulation, which must answer the same."""

import json
import uuid

import pytest
import redis

from tests.simulation.clock import Clock
from tests.simulation.keyspace import Keyspace, SimulatedRedis
from worker.errors import EngineUnavailable
from worker.record import Found, Step
from worker.settings import Settings
from worker.spec import DeploymentSpec, parse
from worker.store import Deployments, Due

LEASE = 0.3


@pytest.fixture(params=["real", "simulated"])
def connection(request):
    if request.param == "simulated":
        # Its time moves on a bit at each look, so that awaiting the end of a lease is the same on both.
        yield SimulatedRedis(Keyspace(Clock(tick=0.002)))
    else:
        with redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True) as connection:
            yield connection


@pytest.fixture
def prefix():
    return f"dw:{uuid.uuid4().hex[:8]}:"


@pytest.fixture
def records(connection, prefix):
    yield Deployments(connection, prefix, Settings(lease_seconds=LEASE))
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


def spec(project="shop", **arguments):
    return parse(
        DeploymentSpec, "docker.deploy", {"project": project, "stage": "live", "image": "acme/shop:1", **arguments}
    )


def claimed_later(records, deployment_id, step):
    """Claim a step once it is due, which it is by Redis' clock and nobody else's."""
    while (claim := records.claim(deployment_id, step)) is None:
        pass
    return claim


def test_an_accepted_deployment_can_be_claimed_once(records):
    assert records.accept("a", spec()).outcome == "running"
    claim = records.claim("a", Step.PULL)
    assert (claim.attempt, claim.spec, claim.found) == (1, spec(), Found())
    assert records.claim("a", Step.PULL) is None


def test_accepting_twice_changes_nothing(records):
    records.accept("a", spec())
    records.claim("a", Step.PULL)
    assert records.accept("a", spec()).outcome == "known"
    assert records.claim("a", Step.PULL) is None


def test_only_the_step_that_is_due_can_be_claimed(records):
    records.accept("a", spec())
    assert records.claim("a", Step.CREATE) is None
    assert records.claim("unheard-of", Step.PULL) is None


def test_what_was_found_goes_on_to_the_next_step(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    assert records.advance(claim, Step.INSPECT, Found(image_id="sha256:1"))
    assert records.claim("a", Step.PULL) is None
    assert records.claim("a", Step.INSPECT).found.image_id == "sha256:1"


def test_a_lease_that_is_not_renewed_ends_and_its_holder_can_commit_no_more(records):
    records.accept("a", spec())
    late = records.claim("a", Step.PULL)
    later = claimed_later(records, "a", Step.PULL)
    assert later.attempt == 2
    assert not records.renew(late)
    assert not records.advance(late, Step.INSPECT, Found(image_id="late"))
    assert not records.retry(late, 0)
    records.close(late)
    assert records.advance(later, Step.INSPECT, Found(image_id="later"))
    assert records.claim("a", Step.INSPECT).found.image_id == "later"


def test_a_renewed_lease_goes_on(records, connection):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    began, now = claim.now, claim.now
    while now < began + 3 * LEASE:
        assert records.renew(claim)
        assert records.claim("a", Step.PULL) is None
        seconds, micros = connection.time()
        now = seconds + micros / 1e6
    assert records.advance(claim, Step.INSPECT, Found())


def test_a_claim_that_has_ended_can_be_renewed_no_more(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    assert records.advance(claim, Step.INSPECT, Found())
    assert not records.renew(claim)
    last = records.claim("a", Step.INSPECT)
    records.close(last)
    assert not records.renew(last)
    assert records.ring().until_next is None


def test_a_retry_is_due_later_and_counts_and_a_wait_does_not(records):
    records.accept("a", spec())
    records.retry(records.claim("a", Step.PULL), 0.1)
    assert records.claim("a", Step.PULL) is None
    again = claimed_later(records, "a", Step.PULL)
    assert again.attempt == 2
    records.wait(again, 0.1, again.found)
    assert claimed_later(records, "a", Step.PULL).attempt == 1


def test_an_error_is_carried_to_the_report(records):
    records.accept("a", spec())
    error = EngineUnavailable("The engine is away.", {"step": "pull"})
    records.advance(records.claim("a", Step.PULL), Step.REPORT, Found(), error)
    carried = records.claim("a", Step.REPORT).error
    assert (type(carried), carried.args) == (EngineUnavailable, error.args)


def test_alarms_ring_for_what_nobody_sends(records):
    records.accept("a", spec())
    assert records.ring().steps == []
    while not (steps := records.ring().steps):
        pass
    assert steps == [Due("a", Step.PULL, "local")]
    assert records.ring().steps == []
    assert records.ring().until_next <= LEASE


def test_a_stage_has_one_running_and_one_waiting_and_the_newest_waits(records):
    assert records.accept("a", spec()).outcome == "running"
    assert records.accept("other", spec("other")).outcome == "running"
    assert records.accept("b", spec()).outcome == "waiting"
    assert records.accept("c", spec()).due == Due("b", Step.REPORT, "local")
    superseded = records.claim("b", Step.REPORT)
    assert type(superseded.error).__name__ == "DeploymentSuperseded"
    assert records.close(superseded) is None
    assert records.claim("c", Step.PULL) is None
    assert records.close(records.claim("a", Step.PULL)) == Due("c", Step.PULL, "local")
    assert records.claim("c", Step.PULL) is not None
    assert records.close(records.claim("other", Step.PULL)) is None


def test_one_that_waits_is_due_at_its_deadline(records):
    records.accept("a", spec())
    records.accept("b", spec(timeout=0.2))
    late = claimed_later(records, "b", Step.EXPIRE)
    assert late.time_left <= 0
    records.advance(late, Step.REPORT, Found(), EngineUnavailable("Late."))
    records.close(records.claim("b", Step.REPORT))
    # Nobody waits any more.
    assert records.close(records.claim("a", Step.PULL)) is None
    assert records.accept("d", spec()).outcome == "running"


def test_another_host_is_told_of_its_own_and_takes_no_others(connection, prefix, records):
    there = Deployments(connection, prefix, Settings(lease_seconds=LEASE, host="there"))
    records.accept("a", spec())
    assert there.claim("a", Step.PULL) is None
    assert there.accept("b", spec()).outcome == "waiting"
    assert records.accept("c", spec()).due == Due("b", Step.REPORT, "there")
    there.accept("d", spec())
    assert records.close(records.claim("a", Step.PULL)) == Due("d", Step.PULL, "there")
    assert records.claim("d", Step.PULL) is None
    assert there.claim("d", Step.PULL) is not None


def test_what_was_accepted_is_read_back_by_an_older_version(records, connection, prefix):
    records.accept("a", spec(labels={"team": "x"}))
    key = f"{prefix}deployment:a"
    stored = json.loads(connection.hget(key, "spec"))
    connection.hset(key, "spec", json.dumps({**stored, "of_the_future": 1, "host": "elsewhere"}))
    assert records.claim("a", Step.PULL).spec.labels == {"team": "x"}


def test_an_alarm_of_a_step_of_a_newer_version_is_left_to_its_workers(records, connection, prefix):
    records.accept("a", spec())
    connection.hset(f"{prefix}deployment:a", "step", "of-the-future")
    connection.zadd(f"{prefix}alarms:local", {"a": 0})
    assert records.ring().steps == []


def test_an_ended_deployment_leaves_a_record_and_nothing_else(records, connection, prefix):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    records.close(claim)
    (key,) = connection.scan_iter(f"{prefix}*")
    assert key.endswith("deployment:a")
    assert connection.ttl(key) > 0
    assert connection.hget(key, "step") == "ended"


def test_an_alarm_without_a_record_is_dropped(records, connection, prefix):
    records.accept("a", spec())
    connection.delete(f"{prefix}deployment:a")
    connection.zadd(f"{prefix}alarms:local", {"a": 0})
    assert records.ring().steps == []
    assert not connection.exists(f"{prefix}alarms:local")
