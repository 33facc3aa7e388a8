"""A worker behind nginx that lets through the calls of the list: all that it does passes, and takes all of them."""

import contextlib
import re
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from compose.process import Daemon
from tests.engine_calls import CONFIG, patterns
from tests.engine_proxy import connect
from tests.flow.conftest import Stage, served_through
from tests.flow.hook import Hook
from tests.services import required
from tests.throttled_registry import ThrottledRegistry


@pytest.fixture(scope="module")
def nginx():
    """nginx with the product's own configuration, but for the places of its files; its log has what was asked."""
    # pytest's own folders can be longer than the 107 bytes that a socket's path may have.
    with tempfile.TemporaryDirectory(prefix="dw-") as name:
        folder = Path(name)
        engine = urlsplit(required("DOCKER_HOST"))
        log = f"log_format asked '$request_method $request_uri $status'; access_log {name}/asked asked;"
        temporary = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        places = {
            "/run/docker-watcher": name,
            "http://unix:/run/docker.sock": f"http://unix:{engine.path}" if engine.path else f"http://{engine.netloc}",
            "access_log off;": log + "".join(f"{each}_temp_path {name}/{each};" for each in temporary),
            # Started by root, it would give up what may use the engine's socket.
            "daemon off;": "daemon off; user root;",
        }
        text = CONFIG.read_text()
        for place, other in places.items():
            assert place in text
            text = text.replace(place, other)
        (folder / "config").write_text(text)
        daemon = Daemon("engine-proxy", ["nginx", "-c", str(folder / "config"), "-e", str(folder / "errors")], folder)
        daemon.start()
        try:
            daemon.wait_until((folder / "engine.sock").exists, 20)
            yield SimpleNamespace(server_address=str(folder / "engine.sock"), asked=folder / "asked")
        finally:
            daemon.stop()


@pytest.fixture
def served(second_redis_url, nginx, engine, installation, images, tmp_path):
    """A way to have a stage served by a worker behind nginx."""
    settings = {"DW_PRUNE_AGE": "0", "DW_PRUNE_KEEP": "2", "DW_DRAIN_SECONDS": "0"}

    @contextlib.contextmanager
    def serve():
        with served_through(nginx, second_redis_url, tmp_path, installation, **settings) as (another, client):
            stage = Stage(client, engine, another)
            yield stage
            stage.clear()

    return serve


def test_what_a_worker_asks_for_is_the_list(served, nginx, images):
    with served() as stage:
        each_operation(stage)
        deployments(stage)
        orders(stage)
        pruning(stage, images)
        a_cancelled_pull(stage)
        a_login_for_elsewhere(stage, nginx)
    # A request is written down when its answer has ended: that of the events, with the worker.
    requests = asked(nginx)
    assert [line for line, status in requests if status == "403"] == []
    assert [each for each in patterns() if not any(re.search(each, line) for line, _ in requests)] == []


def asked(nginx):
    """Requests, each with the status of its answer."""
    return [line.rsplit(" ", 1) for line in nginx.asked.read_text().splitlines()]


def each_operation(stage):
    stage.ask("docker.pull", image=stage.image("shop:v1"))
    stage.ask("docker.inspect", image=stage.image("shop:v1"))
    network = stage.ask("docker.ensure_network", network=f"{stage.project}-net")
    made = stage.ask("docker.create", **stage.deployment("shop:v1"))["container_id"]
    stage.ask("docker.start", container=made)
    stage.ask("docker.connect", network=f"{stage.project}-net", container=made, aliases=[stage.alias])
    stage.ask("docker.restart", container=made, timeout=1)
    stage.ask("docker.logs", container=made)
    stage.ask("docker.stop", container=made, timeout=1)
    stage.ask("docker.remove", container=made)
    stage.engine.remove_network(network["network_id"])


def deployments(stage):
    stage.deploy("shop:v1", aliases=[stage.alias])
    stage.deploy("shop:v1", aliases=[stage.alias], force=True)
    with Hook(stage.installation.environment["DW_CUTOVER_KEY"]) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        stage.deploy("shop:v2", aliases=[stage.alias], cutover={"url": hook.url})
        stage.until(lambda: len(hook.told) == 2)
        hook.shutdown()
    assert stage.ask("docker.rollback", project=stage.project, stage=stage.name)["state"] == "live"
    assert "displace" in stage.deploy("shop:v2", aliases=[stage.alias], strategy="stop-first")["seconds"]
    assert stage.ask("docker.reconcile")["host"]


def orders(stage):
    for order in (["stop"], ["restart"], ["rm", "--force"]):
        ended = stage.installation.dw(*order, f"{stage.project}/{stage.name}")
        assert ended.returncode == 0, ended.stderr
    assert stage.ask("docker.list", project=stage.project, all=True)["containers"] == []


def pruning(stage, images):
    """Of an image that only a deployment needed that has failed, and that the engine didn't have before."""
    ends = images(f"ends-{stage.project}", "v1", healthcheck=None, command=("/bin/busybox", "false"), layers=[1000])
    stage.engine.remove_image(ends, force=True)
    error = stage.send("docker.deploy", **stage.deployment(ends, health={"stable": 5})).get(timeout=90, propagate=False)
    assert type(error).__name__ == "StartFailed"
    assert ends in [each["name"] for each in stage.ask("docker.prune")["images"]]


def a_cancelled_pull(stage):
    """Progress comes as it is made, and the cancel gets to the registry."""
    with ThrottledRegistry() as registry:
        sent = stage.send("docker.deploy", **stage.deployment(registry.image))
        stage.until(lambda: sent.state == "PROGRESS" and sent.info.get("current"))
        stage.ask("docker.cancel", deployment_id=sent.id)
        assert registry.hung_up.wait(10)
        assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"


def a_login_for_elsewhere(stage, nginx):
    """The engine is asked whether it would send it in clear, before it is asked to pull."""
    with_login = ("--registry", "registry.example.com", "--username", "me", "--password-stdin")
    assert stage.installation.dw("credential", "add", "elsewhere", *with_login, input="x").returncode == 0
    stage.send("docker.pull", image="registry.example.com/acme/shop:1")
    stage.until(lambda: any(line.endswith("/info") for line, _ in asked(nginx)))
    assert stage.installation.dw("credential", "rm", "elsewhere").returncode == 0


@pytest.mark.parametrize(
    "request_line",
    [
        "POST /v1.41/containers/{}/exec",
        "POST /v1.41/build",
        "GET /v1.41/secrets",
        "GET /v1.41/containers/{}/archive?path=/etc",
        "GET /v1.41/containers/{}/json/../export",
        "GET /v1.41/containers/{}%2fexport",
        "POST /v1.41/images/create?fromSrc=-",
    ],
)
def test_all_else_is_refused(nginx, request_line):
    with connect(f"unix://{nginx.server_address}") as proxy:
        head = (
            f"{request_line.format('0123456789ab')} HTTP/1.1\r\nHost: engine\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
        )
        proxy.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        proxy.settimeout(10)
        assert proxy.recv(65_536).startswith(b"HTTP/1.1 403 ")
