"""Engine, registry and cut-over hook that answer without end: an error of the contract, in time and in memory."""

import json
import socketserver
import threading
from pathlib import Path

import pytest

from tests.flow.conftest import Stage, served_through
from tests.throttled_registry import ThrottledRegistry

STALL = 2
LONGEST_PULL = 4
MOST_MEMORY = 100 * 2**20
"""By how much the worker may grow, in bytes, whatever it is sent."""


@pytest.fixture(scope="module")
def another(second_redis_url, engine_proxy, installation, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    bounds = {"DW_PULL_STALL_TIMEOUT": str(STALL), "DW_DEPLOY_TIMEOUT": str(LONGEST_PULL)}
    with served_through(engine_proxy, second_redis_url, folder, installation, **bounds) as served:
        yield served


@pytest.fixture
def stage(another, engine):
    installation, client = another
    made = Stage(client, engine, installation)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def process(another):
    """What the system tells of the worker."""
    _, client = another
    (stats,) = client.control.inspect(timeout=10).stats().values()
    return Path("/proc", str(stats["pid"]))


@pytest.fixture(autouse=True)
def _memory_has_a_bound(process):
    (process / "clear_refs").write_text("5")
    before = most_memory(process)
    yield
    assert most_memory(process) - before < MOST_MEMORY


def most_memory(process):
    """Bytes that a process has had at the most since that was cleared."""
    (line,) = (each for each in (process / "status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def tried_again(stage, proxy, pattern, fault, task, /, **arguments):
    """Spoil the engine's answers until a task has failed for it once; then they are mended, and it succeeds."""
    proxy.spoiled = (pattern, fault)
    try:
        sent = stage.send(task, **arguments)
        stage.until(lambda: sent.state == "RETRY")
        error = sent.result
    finally:
        proxy.spoiled = ("", "")
    return error, sent.get(timeout=60)


@pytest.mark.parametrize("fault", ["endless", "nonsense", "elsewhere"])
def test_what_is_no_answer_is_asked_for_again(stage, engine_proxy, fault):
    error, result = tried_again(
        stage, engine_proxy, "GET /containers/json", fault, "docker.list", project=stage.project
    )
    assert type(error).__name__ == "EngineUnavailable"
    assert result["containers"] == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("endless", "EngineUnavailable"),
        ("dripped", "RegistryUnavailable"),
        ("idle talk", "RegistryUnavailable"),
        ("invented layers", "RegistryUnavailable"),
    ],
)
def test_a_pull_that_is_only_talked_about_is_tried_again(stage, engine_proxy, fault, kind):
    image = stage.image("shop:v1")
    error, result = tried_again(stage, engine_proxy, "POST /images/create", fault, "docker.pull", image=image)
    assert type(error).__name__ == kind
    assert image in error.args[0]
    assert result["image_id"]


def test_a_pull_that_goes_on_and_on_has_a_deadline(stage):
    with ThrottledRegistry() as registry:
        error = stage.send("docker.pull", image=registry.image).get(timeout=60, propagate=False)
        assert type(error).__name__ == "DeadlineExceeded"
        assert registry.image in error.args[0]
        assert registry.hung_up.wait(10)


def test_of_a_gigabyte_of_logs_the_end_is_read(stage, engine_proxy):
    made = stage.ask("docker.create", **stage.deployment("shop:v1"))["container_id"]
    engine_proxy.spoiled, engine_proxy.sent = ("GET /containers/[^/]+/logs", "long log"), 0
    try:
        lines = stage.ask("docker.logs", container=made, tail=10_000)["lines"]
    finally:
        engine_proxy.spoiled = ("", "")
    assert engine_proxy.sent > 10**9
    assert lines[-2:] == ["a line of it..", ""]
    assert sum(len(line) + 1 for line in lines) == 2**20


def test_events_that_make_no_sense_are_asked_for_again(stage, engine_proxy):
    engine_proxy.asked.clear()
    engine_proxy.spoiled = ("GET /events", "nonsense")
    try:
        engine_proxy.cut("GET /events")
        stage.until(lambda: engine_proxy.asked.count("GET /events") > 1)
    finally:
        engine_proxy.spoiled = ("", "")
    assert stage.ask("docker.list", project=stage.project)["containers"] == []


class SlowHook(socketserver.ThreadingTCPServer):
    """Takes what it is told, and answers byte by byte: a head that never ends."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Dripping)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/cutover"
        self.told, self.hung_up, self.ended = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Dripping(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65_536)
        self.server.told.set()
        try:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.server.ended.wait(0.05):
                self.request.sendall(b"x")
        except OSError:
            self.server.hung_up.set()


@pytest.fixture
def slow_hook():
    with SlowHook() as hook:
        yield hook
        hook.ended.set()
        hook.shutdown()


def test_a_hook_that_drips_has_its_timeout_in_all(stage, slow_hook):
    asked = stage.deployment("shop:v1", cutover={"url": slow_hook.url, "timeout": 1}, timeout=60)
    sent = stage.send("docker.deploy", **asked)
    trouble = stage.until(lambda: json.loads(stage.record(sent.id).get("trouble") or "null"))
    assert trouble["type"] == "CutoverFailed"
    assert "gave no answer within 1 s" in trouble["message"]
    stage.ask("docker.cancel", deployment_id=sent.id)
    assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"
    assert stage.containers() == []


def test_a_cancel_does_not_wait_for_the_hook(stage, slow_hook):
    asked = stage.deployment("shop:v1", cutover={"url": slow_hook.url, "timeout": 300}, timeout=600)
    sent = stage.send("docker.deploy", **asked)
    assert slow_hook.told.wait(30)
    stage.ask("docker.cancel", deployment_id=sent.id)
    assert slow_hook.hung_up.wait(10)
    assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"
    assert stage.containers() == []
