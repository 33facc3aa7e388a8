"""The same deployment again: found out with few looks at the engine, and whatever its secrets are sealed with."""

import json
import statistics
import time
import uuid

import pytest
import redis

from tests.flow.conftest import Stage, served_through

REPEATS = 20
MOST_CALLS = 3
#: What is the registry's to answer.
PULL = "POST /images/create"


@pytest.fixture(scope="module")
def another(second_redis_url, engine_proxy, installation, images, tmp_path_factory):
    """An installation whose worker asks the engine for its deployments' sake only, by way of the proxy."""
    folder = tmp_path_factory.mktemp("logs")
    with served_through(engine_proxy, second_redis_url, folder, installation, DW_RECONCILE_SECONDS="3600") as served:
        yield served


@pytest.fixture
def stage(another, engine):
    installation, client = another
    made = Stage(client, engine, installation)
    yield made
    made.clear()


@pytest.mark.parametrize("policy", ["always", "missing"])
def test_it_costs_three_calls_beside_the_pull(stage, engine_proxy, record_property, policy):
    first = stage.deploy("shop:v1", policy=policy)
    counts, seconds = [], []
    for _ in range(REPEATS):
        engine_proxy.asked.clear()
        began = time.monotonic()
        again = stage.deploy("shop:v1", policy=policy)
        seconds.append(time.monotonic() - began)
        assert (again["state"], again["container_id"]) == ("unchanged", first["container_id"])
        assert (again["image_id"], again["digest"]) == (first["image_id"], first["digest"])
        assert engine_proxy.asked.count(PULL) == (policy == "always")
        counts.append(len(engine_proxy.asked) - engine_proxy.asked.count(PULL))
    calls = statistics.median(counts)
    record_property(
        "figure",
        f"unchanged, policy {policy}: {calls:g} engine calls beside the pull (at most {max(counts)}), "
        f"p50 {statistics.median(seconds) * 1000:.0f} ms of {REPEATS}",
    )
    assert calls <= MOST_CALLS


def test_a_record_whose_pull_an_earlier_version_committed_goes_through(stage):
    """It knew the image's id from the pull on."""
    image = stage.ask("docker.pull", image=stage.image("shop:v1"))
    deployment_id, where = str(uuid.uuid4()), f"{stage.project}/{stage.name}"
    prefix, now = f"dw:{stage.installation.namespace}:", time.time()
    record = {
        "spec": json.dumps(stage.deployment("shop:v1")),
        "found": json.dumps({"image_id": image["image_id"], "digest": image["digest"], "seconds": {"pull": 0.1}}),
        "host": "local",
        "stage": where,
        "step": "inspect",
        "error": "",
        "order": 1,
        "attempt": 0,
        "fence": 1,
        "copies": 0,
        "due": now,
        "since": now,
        "created": now,
        "deadline": now + 600,
    }
    with redis.Redis.from_url(stage.installation.redis_url) as connection, connection.pipeline() as pipeline:
        pipeline.hset(f"{prefix}deployment:{deployment_id}", mapping=record)
        pipeline.hset(f"{prefix}stage:{where}", "running", deployment_id)
        pipeline.zadd(f"{prefix}alarms:local", {deployment_id: now})
        pipeline.execute()
    result = stage.client.AsyncResult(deployment_id).get(timeout=60)
    assert (result["state"], result["image_id"], result["digest"]) == ("live", image["image_id"], image["digest"])
    assert list(result["ports"]) == ["8080/tcp"]


def sealed(stage, value):
    ended = stage.installation.dw("seal", f"{stage.project}/{stage.name}", "TOKEN", input=value)
    assert ended.returncode == 0, ended.stderr
    return {"TOKEN": ended.stdout.strip()}


def test_a_secret_that_is_sealed_anew_is_no_change_and_another_one_is(stage):
    first = stage.deploy("shop:v1", secret_env=sealed(stage, "hunter2"))
    assert stage.deploy("shop:v1", secret_env=sealed(stage, "hunter2"))["state"] == "unchanged"
    other = stage.deploy("shop:v1", secret_env=sealed(stage, "hunter3"))
    assert other["replaced"] == [first["container_id"]]
    environment = stage.engine.inspect_container(other["container_id"])["Config"]["Env"]
    assert "TOKEN=hunter3" in environment
