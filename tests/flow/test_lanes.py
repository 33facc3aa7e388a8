"""What is slow holds up nothing else (G9)."""

import contextlib
import statistics
import time
from itertools import cycle

import pytest
from celery import Celery

from tests.flow.conftest import Installation, Stage
from tests.throttled_registry import ThrottledRegistry

pytestmark = pytest.mark.alone

CONCURRENCY = 4
WAITING = 40


@pytest.fixture(scope="module")
def another(second_redis_url, tmp_path_factory, images, installation):
    """An installation with the concurrency of the figures below, and with all waits as they are by default."""
    another = Installation(second_redis_url, tmp_path_factory.mktemp("logs"), namespace=installation.namespace)
    for name in ("DW_LEASE_SECONDS", "DW_HEALTH_TIMEOUT", "DW_PULL_STALL_TIMEOUT"):
        del another.environment[name]
    another.environment["DW_CONCURRENCY"] = str(CONCURRENCY)
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with another.worker(client):
        yield another, client
    client.close()


@pytest.fixture
def make_stage(another, engine):
    mine, client = another
    return lambda: Stage(client, engine, mine)


def p95_of_lists(stage):
    seconds = [seconds_of(lambda: stage.ask("docker.list", project=stage.project)) for _ in range(100)]
    return statistics.quantiles(seconds, n=20)[-1]


def seconds_of(ask):
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def test_forty_that_wait_for_their_health_check_hold_up_nobody(make_stage, images, record_property):
    """By then they have been listed a hundred times, and one more stage has been deployed to."""
    image = images("late", "v1", healthcheck=["/bin/busybox", "sleep", "30"], health_seconds=60)
    stage = make_stage()
    usual = seconds_of(lambda: stage.deploy("shop:v1", policy="missing"))
    usual_p95 = p95_of_lists(stage)
    waiting = [make_stage() for _ in range(WAITING)]
    arguments = {"policy": "missing", "health": {"timeout": 120}}
    sent = [each.send("docker.deploy", **each.deployment(image, **arguments)) for each in waiting]
    stage.until(
        lambda: all(each.record(it.id).get("step") == "prove" for each, it in zip(waiting, sent, strict=True)), 120
    )
    p95 = p95_of_lists(stage)
    meanwhile = seconds_of(lambda: stage.deploy("shop:v2", policy="missing"))
    still = sum(not each.ready() for each in sent)
    record_property(
        "figure",
        f"{still} of {WAITING} waiting, concurrency {CONCURRENCY}: docker.list p95 {p95 * 1000:.0f} ms, and "
        f"{usual_p95 * 1000:.0f} ms before; a deployment of another stage took {meanwhile:.1f} s, {usual:.1f} s before",
    )
    assert still > WAITING / 2
    # On a machine that is slow by itself, what counts is how much slower it has become.
    assert p95 < max(0.1, 5 * usual_p95)
    assert meanwhile < 3 * usual + 2
    assert {each.get(timeout=120)["health"] for each in sent} == {"healthy"}


def test_pulls_that_stall_hold_up_nobody(make_stage):
    """Twice as many as there are slots: deployments, and pulls of others, which wait in their queue."""
    stage = make_stage()
    stage.deploy("shop:v1", policy="missing")
    with contextlib.ExitStack() as registries:
        stalled = [registries.enter_context(ThrottledRegistry(silent=True)) for _ in range(2 * CONCURRENCY)]
        sent = [stage.send("docker.pull", image=each.image) for each in stalled[:CONCURRENCY]]
        stages = [make_stage() for _ in stalled[CONCURRENCY:]]
        sent += [
            each.send("docker.deploy", **each.deployment(registry.image, policy=policy))
            for each, registry, policy in zip(stages, stalled[CONCURRENCY:], cycle(["always", "missing"]), strict=False)
        ]
        stage.until(lambda: sum(each.asked.is_set() for each in stalled) >= CONCURRENCY)
        for _ in range(10):
            assert seconds_of(lambda: stage.ask("docker.list", project=stage.project)) < 1
        # Whose image is there needs no slot of a pull.
        assert make_stage().deploy("shop:v1", policy="missing")["state"] == "live"
        assert stage.ask("docker.logs", container=stage.containers()[0]["Id"])["lines"] is not None
        assert stage.ask("docker.stop", container=stage.containers()[0]["Id"])["container_id"]
        for each in sent[CONCURRENCY:]:
            assert stage.ask("docker.cancel", deployment_id=each.id)["state"] == "cancelling"
        # They end without a slot.
        ended = [each.get(timeout=20, propagate=False) for each in sent[CONCURRENCY:]]
        assert {type(each).__name__ for each in ended} == {"DeploymentCancelled"}
        assert sum(each.asked.is_set() for each in stalled) <= CONCURRENCY + 1
        for each in sent[:CONCURRENCY]:
            stage.client.control.revoke(each.id)
