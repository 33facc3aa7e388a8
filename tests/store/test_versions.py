"""Records that take a newer version of the code than a worker is of; on a real Redis, and on the simulation's."""

import contextlib
import importlib
import json

import pytest

from worker import version
from worker.errors import DeploymentError
from worker.record import Found, Step
from worker.settings import Settings
from worker.spec import DeploymentSpec, parse
from worker.store import Deployments, Due, reading

# By its name in the package there is a function.
deployments = importlib.import_module("worker.store.deployments")
LEASE = 0.3
NEWER = 2


@pytest.fixture
def records(connection, prefix):
    yield Deployments(connection, prefix, Settings(lease_seconds=LEASE))
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


@contextlib.contextmanager
def newer(*, steps=(), arguments=()):
    """Have what is done in the block be done by a newer version, in which these steps and arguments are new."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(version, "STEPS_SINCE", dict.fromkeys(steps, NEWER))
        changed.setattr(version, "ARGUMENTS_SINCE", dict.fromkeys(arguments, NEWER))
        for each in (deployments, reading):
            changed.setattr(each, "VERSION", NEWER)
        yield


def spec(project="shop", **arguments):
    asked = {"project": project, "stage": "live", "image": "acme/shop:1", **arguments}
    return parse(DeploymentSpec, "docker.deploy", asked)


def accept_newer(records, *deployment_ids):
    """Accept what asks for something that only the newer version knows."""
    with newer(arguments=["force"]):
        for each in deployment_ids:
            records.accept(each, spec(each, force=True))


def test_what_is_asked_for_with_a_new_argument_is_claimed_by_newer_workers_only(records):
    accept_newer(records, "a")
    records.accept("b", spec("another"))
    assert records.claim("a", Step.PULL) is None
    assert records.claim("b", Step.PULL).attempt == 1
    with newer():
        assert records.claim("a", Step.PULL).attempt == 1


def test_what_has_come_to_a_new_step_is_left_to_newer_workers_from_then_on(records):
    records.accept("a", spec())
    with newer(steps=[Step.CREATE]):
        records.advance(records.claim("a", Step.PULL), Step.CREATE, Found())
        records.advance(records.claim("a", Step.CREATE), Step.CONNECT, Found())
    assert records.claim("a", Step.CONNECT) is None
    with newer():
        assert records.claim("a", Step.CONNECT).attempt == 1


def test_a_step_that_an_older_worker_was_sent_is_sent_again_by_a_newer_one_within_a_second(records):
    accept_newer(records, "a")
    assert records.claim("a", Step.PULL) is None
    with newer():
        alarms = records.ring()
        assert alarms.steps == []
        assert alarms.until_next <= 1
        while not (steps := records.ring().steps):
            pass
    assert steps == [Due("a", Step.PULL, "local")]


def test_an_older_worker_rings_past_those_that_it_leaves(records, monkeypatch):
    monkeypatch.setattr(deployments, "_MOST_ALARMS_AT_ONCE", 2)
    accept_newer(records, *(f"new-{number}" for number in range(5)))
    records.accept("old", spec())
    while not (alarms := records.ring()).steps:
        # It waits for its own, and not without a pause for those of others.
        assert alarms.until_next > 0
    assert [each.id for each in alarms.steps] == ["old"]


def test_what_is_left_is_under_way_to_an_older_worker_and_can_be_cancelled(records, connection, prefix):
    accept_newer(records, "shop")
    # As only a newer one could have left it.
    record = f"{prefix}deployment:shop"
    asked = {**json.loads(connection.hget(record, "spec")), "policy": "sometimes", "warm": True}
    connection.hset(record, mapping={"step": "warm", "spec": json.dumps(asked)})
    standing = records.standings(["shop"])["shop"]
    assert (standing.step, standing.outcome) == ("warm", None)
    assert "docker.io/acme/shop:1" in records.needed_images(1).names
    (past,) = records.history("shop/live")
    assert (past.state, past.step, past.image) == ("running", "warm", "docker.io/acme/shop:1")
    cancelling = records.cancel("shop")
    assert (cancelling.outcome, cancelling.due) == ("cancelling", None)
    assert connection.hget(record, "cancel")


def test_a_fact_that_is_not_known_is_kept(records, connection, prefix):
    records.accept("a", spec())
    found = {"image_id": "sha256:1", "noted": {"by": "a newer one"}}
    connection.hset(f"{prefix}deployment:a", "found", json.dumps(found))
    claim = records.claim("a", Step.PULL)
    records.advance(claim, Step.INSPECT, claim.found.model_copy(update={"digest": "sha256:2"}))
    kept = json.loads(connection.hget(f"{prefix}deployment:a", "found"))
    assert kept == {**found, "digest": "sha256:2"}


def test_an_error_that_is_not_known_keeps_its_name():
    text = json.dumps({"type": "TooWarm", "message": "It is too warm.", "facts": {"retryable": False}})
    error = DeploymentError.from_json(text)
    assert type(error).__name__ == "TooWarm"
    assert isinstance(error, DeploymentError)
    assert json.loads(error.to_json()) == json.loads(text)


def test_newer_workers_are_there_as_long_as_they_say_so(records):
    records.announce_version()
    assert not records.newer_are_there()
    with newer():
        records.announce_version()
        assert not records.newer_are_there()
    assert records.newer_are_there()
    while records.newer_are_there():
        pass
