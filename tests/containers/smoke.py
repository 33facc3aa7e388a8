"""The contract's smoke test by pytest-celery: worker and Redis are containers, and the client is anybody's.

Run by test_smoke.py in a process of its own, as that plugin registers fixtures and tasks wherever it is loaded.
"""

import os
from pathlib import Path

import pytest
from pytest_celery import CeleryWorkerContainer, RedisContainer
from pytest_docker_tools import container, fxtr, network

from tests.flow.conftest import Installation, Stage, page
from tests.services import remove_managed, required

BASE, IMAGE = os.environ["SMOKE_BASE"], os.environ["SMOKE_IMAGE"]
SOCKET = Path(required("DOCKER_HOST").removeprefix("unix://"))


class Redis(RedisContainer):
    @property
    def port(self):
        # Where this runs in a container, pytest-docker-tools takes the inner port for the one to connect to.
        self._wait_port("6379/tcp")
        return self.ports["6379/tcp"][0]


class Worker(CeleryWorkerContainer):
    @classmethod
    def command(cls, *args, **_):
        return ["celery", "-A", "worker", "worker", *args]


default_pytest_celery_network = network(scope="session")
default_redis_broker = container(
    scope="session",
    image=BASE,
    command=RedisContainer.command("--bind", "0.0.0.0", "--dir", "/tmp"),
    ports={"6379/tcp": None},
    network="{default_pytest_celery_network.name}",
    wrapper_class=Redis,
    timeout=30,
    user="65534",
    read_only=True,
    tmpfs={"/tmp": ""},
)


@pytest.fixture(scope="session")
def default_redis_backend(default_redis_broker):
    return default_redis_broker


@pytest.fixture(scope="session")
def installation(default_redis_broker, tmp_path_factory):
    host, port = "127.0.0.1", default_redis_broker.port
    return Installation(f"redis://{host}:{port}/0", tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def default_worker_env(default_redis_broker, installation):
    settings = {name: value for name, value in installation.environment.items() if name.startswith("DW_")}
    return {**settings, "DW_REDIS_URL": default_redis_broker.url, "DOCKER_HOST": "unix:///run/engine.sock"}


default_worker_container = container(
    scope="session",
    image=IMAGE,
    command=Worker.command(),
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    volumes={str(SOCKET): {"bind": "/run/engine.sock", "mode": "rw"}},
    group_add=[str(SOCKET.stat().st_gid)],
    read_only=True,
    tmpfs={"/tmp": ""},
    cap_drop=["ALL"],
    security_opt=["no-new-privileges"],
    wrapper_class=Worker,
    timeout=60,
)


@pytest.fixture(params=["celery_redis_broker"])
def celery_broker(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["celery_redis_backend"])
def celery_backend(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def stage(celery_setup, installation, docker_client):
    installation.add_credential()
    made = Stage(celery_setup.app, docker_client.api, installation)
    yield made
    remove_managed(docker_client.api, installation.namespace)


@pytest.fixture
def shop():
    return os.environ["SMOKE_IMAGES"].split()


def test_step_by_step(stage, shop):
    network = stage.ask("docker.ensure_network", network=stage.installation.network)
    assert network["network_id"]
    pulled = stage.ask("docker.pull", image=shop[0], credential="registry")
    assert pulled["digest"].startswith("sha256:")
    assert stage.ask("docker.inspect", image=shop[0])["image_id"] == pulled["image_id"]
    made = stage.ask("docker.create", **stage.deployment(shop[0]))
    started = stage.ask("docker.start", container=made["container_id"])
    stage.until(lambda: served(started) == "shop:1")
    (listed,) = stage.ask("docker.list", project=stage.project)["containers"]
    assert listed["container_id"] == made["container_id"]
    assert stage.ask("docker.logs", container=made["container_id"])["lines"] == []
    assert stage.ask("docker.stop", container=made["container_id"])["exit_code"] == 0
    assert stage.ask("docker.remove", container=made["container_id"])
    assert stage.containers() == []


def served(result):
    try:
        return page(result)
    except OSError:
        return ""


def test_a_version_takes_anothers_place_and_one_that_is_not_there_takes_none(stage, shop):
    first = stage.deploy(shop[0], credential="registry")
    assert page(first) == "shop:1"
    missing = stage.send("docker.deploy", **stage.deployment(f"{shop[0]}9", credential="registry"))
    assert type(missing.get(timeout=60, propagate=False)).__name__ == "ImageNotFound"
    assert page(first) == "shop:1"
    second = stage.deploy(shop[1], credential="registry")
    assert second["replaced"] == [first["container_id"]]
    assert page(second) == "shop:2"
