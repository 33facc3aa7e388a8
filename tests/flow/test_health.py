"""How a container is proven: by what the engine tells, and without that by looks, at no worker's cost."""

import json
import time

import pytest

from tests.flow.conftest import Stage, served_through

#: Less than what is left, when the container of these tests is healthy, until it is looked at in any case.
BY_ITSELF = 2.5
LATE = {"healthcheck": ["/bin/busybox", "sleep", "6"], "health_seconds": 20}


@pytest.fixture(scope="module")
def another(second_redis_url, engine_proxy, installation, images, tmp_path_factory):
    """An installation whose worker reaches the engine by way of the proxy."""
    images("late", "v1", **LATE)
    folder = tmp_path_factory.mktemp("logs")
    with served_through(engine_proxy, second_redis_url, folder, installation) as served:
        yield served


@pytest.fixture
def stage(another, engine):
    installation, client = another
    made = Stage(client, engine, installation)
    yield made
    made.clear()


def listens(engine_proxy):
    """The connections by which workers listen to the engine."""
    return [connection for request, connection in engine_proxy.under_way if request == "GET /events"]


def waits(stage, sent):
    """Whether a deployment waits for its container, and nobody is at it."""
    record = stage.record(sent.id)
    return record.get("step") == "prove" and "holder" not in record and float(record["due"]) > time.time()


def told(stage, began, container):
    """When the engine told what of a container, by its own clock; what it told twice, the last time."""
    filters = {"type": "container", "container": container}
    events = stage.engine.events(since=began, until=time.time() + 1, filters=filters, decode=True)
    return {each["Action"]: each["timeNano"] / 1e9 for each in events}


def looks(engine_proxy, container):
    """How often the container was looked at from its start, which looks once, to its promotion."""
    asked = engine_proxy.asked[engine_proxy.asked.index(f"POST /containers/{container}/start") :]
    return asked[: asked.index(f"POST /containers/{container}/update")].count(f"GET /containers/{container}/json")


def deploy_late(stage):
    """Ask for what becomes healthy seven seconds after its start, and await that it waits; returns its container."""
    sent = stage.send("docker.deploy", **stage.deployment("late:v1", policy="missing"))
    stage.until(lambda: waits(stage, sent))
    (container,) = stage.containers()
    return sent, container["Id"]


def test_a_container_that_takes_long_is_hardly_looked_at_and_proven_when_the_engine_tells(
    stage, engine_proxy, record_property
):
    began = int(time.time())
    sent, container = deploy_late(stage)
    result = sent.get(timeout=60)
    assert result["health"] == "healthy"
    seconds, looked, at = result["seconds"]["prove"], looks(engine_proxy, container), told(stage, began, container)
    # What promotes it begins with an update: this has the proof, its commit, and the message of the promotion.
    latency = at["update"] - at["health_status: healthy"]
    record_property("figure", f"proof of {seconds:.1f} s: {looked} looks, over {latency * 1000:.0f} ms after the event")
    assert looked <= 6
    assert latency < BY_ITSELF


def test_a_container_that_dies_while_it_is_to_run_stably_fails_at_once(stage, engine_proxy, images, record_property):
    began = int(time.time())
    image = images("short", "v1", command=["/bin/busybox", "sh", "-c", "sleep 2; exit 3"], healthcheck=None)
    sent = stage.send("docker.deploy", **stage.deployment(image, policy="missing", health={"stable": 20}))
    stage.until(lambda: waits(stage, sent))
    (container,) = stage.containers()
    error = sent.get(timeout=60, propagate=False)
    assert (type(error).__name__, error.args[1]["exit_code"]) == ("StartFailed", 3)
    at = told(stage, began, container["Id"])
    latency = at["destroy"] - at["die"]
    record_property("figure", f"candidate that dies: removed {latency * 1000:.0f} ms later")
    assert latency < BY_ITSELF


def test_a_cut_connection_to_the_engine_is_made_again(stage, engine_proxy):
    began = int(time.time())
    sent, container = deploy_late(stage)
    before = stage.until(lambda: listens(engine_proxy))
    engine_proxy.cut("GET /events")
    stage.until(lambda: set(listens(engine_proxy)) - set(before))
    assert sent.get(timeout=60)["health"] == "healthy"
    at = told(stage, began, container)
    assert at["update"] - at["health_status: healthy"] < BY_ITSELF


def test_a_container_is_proven_although_the_engine_tells_nothing(stage, engine_proxy):
    sent, container = deploy_late(stage)
    engine_proxy.spoiled = ("GET /events", "dropped")
    try:
        engine_proxy.cut("GET /events")
        # Its health takes seven seconds, and twenty would be too long.
        assert sent.get(timeout=60)["seconds"]["prove"] < 15
        assert listens(engine_proxy) == []
    finally:
        engine_proxy.spoiled = ("", "")
    assert looks(engine_proxy, container) <= 6


BAD_CHECK = ["/bin/busybox", "sh", "-c", "echo looking; echo no database; exit 1"]
GREEDY = ["/bin/busybox", "sh", "-c", "x=aaaaaaaa; while true; do x=$x$x; done"]


def test_dw_shows_what_the_last_health_check_said(stage, images):
    image = images("sick", "v1", healthcheck=BAD_CHECK)
    ended = stage.installation.dw("deploy", f"{stage.project}/staging", image, "--policy", "missing")
    assert ended.returncode == 1
    assert "the last check said: 'no database'" in ended.stderr
    assert ended.stderr.splitlines()[-3:-1] == ["  health check | looking", "  health check | no database"]


def test_dw_says_that_a_container_ran_out_of_memory(stage, images):
    image = images("greedy", "v1", command=GREEDY, healthcheck=None)
    asked = ("deploy", f"{stage.project}/staging", image, "--policy", "missing", "--memory", "8m")
    ended = stage.installation.dw(*asked)
    assert ended.returncode == 1
    assert "it ran out of its memory of 8 MiB and ended with exit code 137" in ended.stderr
    error = json.loads(stage.installation.dw(*asked, "--json").stdout)["error"]
    assert (error["type"], error["facts"]["oom_killed"], error["facts"]["exit_code"]) == ("StartFailed", True, 137)
