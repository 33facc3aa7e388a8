"""Faults of the engine, one at each kind of call and many at random: nothing is there twice or left."""

import os
import random
import sys
from collections import Counter
from dataclasses import replace

import pytest
import redis

from tests.flow.conftest import Stage, served_through

CALLS = {
    "pull": "POST /images/create",
    "inspect": "GET /images/.*/json",
    "list": "GET /containers/json",
    "create": "POST /containers/create",
    "start": "POST /containers/[^/]+/start",
    "look": "GET /containers/[^/]+/json",
    "policy": "POST /containers/[^/]+/update",
    "rename": "POST /containers/[^/]+/rename",
    "disconnect": "POST /networks/[^/]+/disconnect",
    "connect": "POST /networks/[^/]+/connect",
    "stop": "POST /containers/[^/]+/stop",
    "remove": "DELETE /containers/[^/]+",
}
#: What is deployed under faults at random: image, the error that it is sure to end with, and more arguments.
ASKED = [
    ("plain:v1", None, {}),
    ("plain:v1", None, {}),
    ("plain:v2", None, {}),
    ("ends:v1", "StartFailed", {"health": {"stable": 1}}),
    ("plain:absent", "ImageNotFound", {}),
]
NO_FAULT_OF_THE_IMAGE = {"EngineUnavailable", "RegistryUnavailable", "DeploymentSuperseded"}


@pytest.fixture(scope="module")
def another(second_redis_url, engine_proxy, installation, images, tmp_path_factory):
    """An installation whose worker reaches the engine by way of the proxy."""
    # Without a health check a deployment needs no second for its proof.
    images("plain", "v1", healthcheck=None)
    images("plain", "v2", healthcheck=None)
    images("ends", "v1", healthcheck=None, command=("/bin/busybox", "false"))
    folder = tmp_path_factory.mktemp("logs")
    with served_through(
        engine_proxy, second_redis_url, folder, installation, DW_STABLE_SECONDS="0", DW_ENGINE_TIMEOUT="3"
    ) as served:
        yield served


@pytest.fixture
def stage(another, engine):
    installation, client = another
    made = Stage(client, engine, installation)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def served(another, engine):
    """A stage that has its container already, for all tests that replace it."""
    installation, client = another
    served = Stage(client, engine, installation)
    served.deploy("plain:v1", aliases=[served.alias])
    yield served
    served.clear()


def test_an_image_that_vanishes_before_its_container_is_made_costs_that_deployment_alone(served, engine_proxy, images):
    before = [each["Id"] for each in served.containers()]
    image = images("vanishing", "v1", layers=[1000])
    engine_proxy.once = (CALLS["create"], "silent")
    sent = served.send("docker.deploy", **served.deployment(image))
    served.until(lambda: engine_proxy.once is None)
    served.engine.remove_image(image, force=True)
    error = sent.get(timeout=60, propagate=False)
    assert (type(error).__name__, error.args[1]["step"]) == ("ImageNotFound", "create")
    assert image in error.args[0]
    assert [each["Id"] for each in served.containers()] == before


@pytest.mark.parametrize("fault", ["500", "lost", "half", "garbled", "no JSON"])
@pytest.mark.parametrize("call", CALLS)
def test_a_deployment_gets_over_one_fault(served, engine_proxy, call, fault):
    older = [each["Id"] for each in served.containers()]
    engine_proxy.once = (CALLS[call], fault)
    result = served.deploy("plain:v1", aliases=[served.alias], force=True)
    assert engine_proxy.once is None, "the call was never made"
    assert result["replaced"] == older
    (left,) = served.containers()
    assert left["Id"] == result["container_id"]
    assert left["Names"] == [f"/{result['container_name']}"]
    seen = served.engine.inspect_container(left["Id"])
    networks = seen["NetworkSettings"]["Networks"]
    assert served.alias in networks[served.installation.network]["Aliases"]
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert result["ports"] == {
        "8080/tcp": int(seen["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]),
    }


def test_a_candidate_that_is_killed_before_it_is_promoted_is_started_once_more(stage, engine_proxy):
    first = stage.deploy("shop:v1", aliases=[stage.alias])
    # Its promotion begins with a rename; while that is not answered, the candidate is killed.
    engine_proxy.once = (CALLS["rename"], "silent")
    second = stage.send("docker.deploy", **stage.deployment("shop:v1", aliases=[stage.alias], force=True))
    stage.until(lambda: engine_proxy.once is None)
    candidate = next(each["Id"] for each in stage.containers() if each["Id"] != first["container_id"])
    stage.engine.kill(candidate)
    result = second.get(timeout=40)
    assert (result["container_id"], result["replaced"]) == (candidate, [first["container_id"]])
    (left,) = stage.containers()
    assert (left["Id"], left["State"]) == (candidate, "running")
    assert left["Names"] == [f"/{first['container_name']}"]


def test_thirty_deployments_under_faults_at_random_leave_nothing_behind(stage, engine_proxy):
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1_000_000))
    sys.stdout.write(f"again with FAULTS_SEED={seed}\n")
    dice = random.Random(seed)
    stages = [replace(stage, name=f"stage{number}") for number in range(10)]
    before = managed(stage)
    for first in [each.send("docker.deploy", **each.deployment("plain:v1", aliases=[each.alias])) for each in stages]:
        first.get(timeout=90)
    firsts = managed(stage) - before

    engine_proxy.seed(seed)
    engine_proxy.odds = dict.fromkeys(["500", "dropped", "lost", "half", "garbled", "no JSON"], 0.02)
    try:
        sent = []
        for each in stages * 3:
            image, cause, more = dice.choice(ASKED)
            asked = each.deployment(image, aliases=[each.alias], force=dice.random() < 0.5, **more)
            sent.append((each.send("docker.deploy", **asked), cause))
        results = [result_of(deployment, {cause, *NO_FAULT_OF_THE_IMAGE}) for deployment, cause in sent]
        stage.until(lambda: not unfinished(stage))
    finally:
        engine_proxy.odds = {}
    sys.stdout.write(f"{engine_proxy.befell} befell, and came to {Counter(type(each).__name__ for each in results)}\n")
    assert engine_proxy.befell.total() > 20

    done = [each for each in results if isinstance(each, dict)]
    replaced = {container for each in done for container in each["replaced"]}
    # A container that can't be retired in five attempts is let be, and said not to be replaced.
    assert managed(stage) - before == (firsts | {each["container_id"] for each in done}) - replaced
    for each in stages:
        check_newest(each)


def managed(stage):
    """The ids of all containers of the namespace."""
    ours = {"label": f"docker-watcher.namespace={stage.installation.namespace}"}
    return {each["Id"] for each in stage.engine.containers(all=True, filters=ours)}


def result_of(sent, causes):
    """What became of a deployment: its result, or an error of one of these names."""
    result = sent.get(timeout=200, propagate=False)
    assert isinstance(result, dict) or type(result).__name__ in causes, repr(result)
    return result


def unfinished(stage):
    """The keys of stages that are taken, and of alarms that are set."""
    with redis.Redis.from_url(stage.installation.redis_url, decode_responses=True) as connection:
        prefix = f"dw:{stage.installation.namespace}"
        stages = [each for each in connection.scan_iter(f"{prefix}:stage:*") if connection.hexists(each, "running")]
        return [*stages, *connection.scan_iter(f"{prefix}:alarms:*")]


def check_newest(stage):
    """What serves a stage has the name, labels, alias and restart policy of an instance that was promoted."""
    (newest, *_) = (each for each in stage.containers() if each["Labels"]["docker-watcher.stage"] == stage.name)
    seen = stage.engine.inspect_container(newest["Id"])
    tag = seen["Config"]["Labels"]["docker-watcher.image"].rpartition(":")[2]
    assert seen["Name"] == f"/{stage.installation.namespace}-{stage.project}-{stage.name}-{tag}"
    assert seen["State"]["Running"]
    assert stage.alias in seen["NetworkSettings"]["Networks"][stage.installation.network]["Aliases"]
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "always"
