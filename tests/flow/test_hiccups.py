"""One fault of the engine at each kind of call: a deployment gets over it, and nothing is there twice or left."""

import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from celery import Celery

from tests.engine_proxy import EngineProxy
from tests.flow.conftest import Installation, Stage
from tests.services import required

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


@pytest.fixture(scope="module")
def folder():
    # pytest's own folders can be longer than the 107 bytes that a socket's path may have.
    folder = tempfile.mkdtemp(prefix="dw-")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def proxy(folder):
    proxy = EngineProxy(folder / "engine.sock", required("DOCKER_HOST"))
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def another(second_redis_url, proxy, folder, installation, images):
    """An installation whose worker reaches the engine by way of the proxy."""
    another = Installation(second_redis_url, folder, namespace=installation.namespace)
    another.environment["DOCKER_HOST"] = f"unix://{folder / 'engine.sock'}"
    another.environment |= {"DW_STABLE_SECONDS": "0", "DW_ENGINE_TIMEOUT": "3"}
    added = another.dw(
        *("credential", "add", "registry", "--registry", another.registry, "--username", another.username),
        "--password-stdin",
        input=another.password,
    )
    assert added.returncode == 0, added.stderr
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with another.worker(client):
        yield another, client
    client.close()


@pytest.fixture
def stage(another, engine):
    installation, client = another
    return Stage(client, engine, installation, f"p{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize("fault", ["500", "lost"])
@pytest.mark.parametrize("call", CALLS)
def test_a_deployment_gets_over_one_fault(stage, proxy, call, fault):
    first = stage.deploy("shop:v1", aliases=["web"])
    proxy.once = (CALLS[call], fault)
    second = stage.deploy("shop:v1", aliases=["web"], force=True)
    assert proxy.once is None, "the call was never made"
    assert second["replaced"] == [first["container_id"]]
    (left,) = stage.containers()
    assert left["Id"] == second["container_id"]
    assert left["Names"] == [f"/{second['container_name']}"]
    seen = stage.engine.inspect_container(left["Id"])
    networks = seen["NetworkSettings"]["Networks"]
    assert "web" in networks[stage.installation.network]["Aliases"]
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert second["ports"] == {
        "8080/tcp": int(seen["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]),
    }


def test_a_candidate_that_is_killed_before_it_is_promoted_is_started_once_more(stage, proxy):
    first = stage.deploy("shop:v1", aliases=["web"])
    # Its promotion begins with a rename; while that is not answered, the candidate is killed.
    proxy.once = (CALLS["rename"], "silent")
    second = stage.send("docker.deploy", **stage.deployment("shop:v1", aliases=["web"], force=True))
    stage.until(lambda: proxy.once is None)
    candidate = next(each["Id"] for each in stage.containers() if each["Id"] != first["container_id"])
    stage.engine.kill(candidate)
    result = second.get(timeout=40)
    assert (result["container_id"], result["replaced"]) == (candidate, [first["container_id"]])
    (left,) = stage.containers()
    assert (left["Id"], left["State"]) == (candidate, "running")
    assert left["Names"] == [f"/{first['container_name']}"]
