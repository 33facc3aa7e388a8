"""What Prometheus is told, asked of real workers."""

import contextlib
import signal
import socket
import urllib.request

import pytest
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.flow.conftest import Installation, Stage, until

HELD_UP = ["/bin/busybox", "sleep", "60"]


class Scraped:
    """The metrics of a worker, as they are now."""

    def __init__(self, port, address="127.0.0.1"):
        self.url = f"http://{address}:{port}/metrics"

    def families(self):
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))

    def value(self, name, **labels):
        """The sum of a metric's samples with these labels; None without any."""
        found = [
            sample.value
            for family in self.families()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


def a_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def metered(unserved):
    """A worker with metrics, of an installation that no other one serves: its stage, and what is told of it."""
    port = a_port()
    with unserved.installation.worker(unserved.client, DW_METRICS_PORT=str(port)) as process:
        yield unserved, Scraped(port), process


@pytest.fixture(scope="module")
def unserved(second_redis_url, tmp_path_factory, engine, images, installation):
    another = Installation(second_redis_url, tmp_path_factory.mktemp("metrics"), namespace=installation.namespace)
    another.environment["DW_KEYS"] = installation.environment["DW_KEYS"]
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    another.add_credential()
    made = Stage(client, engine, another)
    yield made
    made.clear()
    client.close()


@pytest.fixture
def stage(metered):
    return metered[0]


@pytest.fixture
def metrics(metered):
    return metered[1]


# These two come first, while nobody else serves that installation.
def test_workers_that_share_a_folder_answer_as_one(unserved, tmp_path):
    folder, port = tmp_path / "metrics", a_port()
    folder.mkdir()
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "DW_METRICS_PORT": str(port)}
    with contextlib.ExitStack() as workers:
        for _ in range(2):
            workers.enter_context(unserved.installation.worker(unserved.client, DW_CONCURRENCY="1", **shared))
        made = [Stage(unserved.client, unserved.engine, unserved.installation) for _ in range(4)]
        for each in [each.send("docker.deploy", **each.deployment("shop:v1")) for each in made]:
            each.get(timeout=60)
        # Whichever of both answers.
        for _ in range(5):
            until(lambda: Scraped(port).value("dw_deployments_total", result="live") == 4)
        assert Scraped(port).value("dw_engine_up") == 1
    for each in made:
        each.clear()


@pytest.mark.parametrize("shared", [False, True])
def test_a_taken_port_is_said_at_start(unserved, tmp_path, shared):
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if shared else {}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with unserved.installation.process("worker", DW_METRICS_PORT=str(port), **environment) as process:
            assert process.wait(60) == 1
    said = "".join(path.read_text() for path in unserved.installation.folder.iterdir())
    assert f"DW_METRICS_PORT: 127.0.0.1:{port} can't be had (Address already in use)" in said


def test_deployments_are_counted_by_how_they_end(stage, metrics, images):
    images("held", "v1", healthcheck=HELD_UP, health_seconds=90)
    images("dying", "v1", command=["/bin/busybox", "false"])
    # All that can be is there at 0: an increase from nothing is none to Prometheus.
    assert metrics.value("dw_deployments_total", error="Unhealthy") == 0
    assert stage.deploy("shop:v1")["state"] == "live"
    assert stage.deploy("shop:v1")["state"] == "unchanged"
    for image in ("dying:v1", "nothing:v1"):
        with pytest.raises(Exception, match="failed"):
            stage.deploy(image)
    with pytest.raises(Exception, match="wrong"):
        stage.deploy("shop:v1", keep=0)
    held = stage.send("docker.deploy", **stage.deployment("held:v1"))
    until(lambda: stage.record(held.id).get("step") == "prove")
    waiting = [stage.send("docker.deploy", **stage.deployment("shop:v2"))]
    until(lambda: metrics.value("dw_deployments_waiting") == 1)
    waiting.append(stage.send("docker.deploy", **stage.deployment("shop:v2")))
    assert type(waiting[0].get(timeout=30, propagate=False)).__name__ == "DeploymentSuperseded"
    assert metrics.value("dw_deployments_running") == 1
    assert metrics.value("dw_oldest_deployment_seconds") > 0
    stage.ask("docker.cancel", deployment_id=held.id)
    waiting[1].get(timeout=60)
    stage.ask("docker.stage", project=stage.project, stage=stage.name, action="stop")
    # The result is stored before it is counted.
    until(lambda: metrics.value("dw_stage_orders_total", action="stop", result="done") == 1)

    def ended(result, error=""):
        return metrics.value("dw_deployments_total", result=result, error=error)

    assert (ended("live"), ended("unchanged")) == (2, 1)
    assert (ended("failed", "StartFailed"), ended("failed", "ImageNotFound")) == (1, 1)
    assert (ended("cancelled", "DeploymentCancelled"), ended("superseded", "DeploymentSuperseded")) == (1, 1)
    assert metrics.value("dw_deployments_total") == 7
    assert metrics.value("dw_deployment_seconds_count") == 7
    assert metrics.value("dw_requests_refused_total", error="SpecInvalid") == 1
    assert metrics.value("dw_step_failures_total", step="pull", error="ImageNotFound") == 1
    # Of what died and of what was cancelled.
    assert metrics.value("dw_compensations_total", step="undo") == 2
    assert metrics.value("dw_step_seconds_count", step="start") == 4
    assert metrics.value("dw_deployment_wait_seconds_count") == 6
    assert (metrics.value("dw_deployments_running"), metrics.value("dw_deployments_waiting")) == (0, 0)


def test_pulls_and_what_the_engine_is_asked_are_counted(stage, metrics, images):
    images("big", "v1", layers=[3_000_000])
    before = metrics.value("dw_pull_bytes_total")
    stage.engine.remove_image(stage.image("big:v1"), force=True)
    stage.ask("docker.pull", image=stage.image("big:v1"), credential="registry")
    assert metrics.value("dw_pull_bytes_total") - before > 3_000_000
    present = metrics.value("dw_pulls_total", result="present")
    stage.ask("docker.pull", image=stage.image("big:v1"), credential="registry")
    assert metrics.value("dw_pulls_total", result="present") == present + 1
    calls = {sample.labels["call"] for each in metrics.families() for sample in each.samples if "call" in sample.labels}
    assert {"POST /containers/create", "POST /containers/{id}/start", "GET /containers/{id}/json", "GET /info"} <= calls
    assert not any(stage.project in each or stage.installation.namespace in each for each in calls)


def test_the_host_and_its_queues_are_told_of(stage, metrics):
    assert until(lambda: metrics.value("dw_host_up", host="local")) == 1
    assert metrics.value("dw_engine_up", host="local") == 1
    assert metrics.value("dw_redis_up") == 1
    assert metrics.value("dw_build_info", namespace=stage.installation.namespace) == 1
    assert metrics.value("dw_host_free_disk_bytes", host="local") > 0
    for lane in ("shared", "quick", "work", "pulls"):
        assert metrics.value("dw_queue_messages", lane=lane) == 0


def test_what_is_told_has_no_project_in_it(stage, metrics):
    labels = [sample.labels for family in metrics.families() for sample in family.samples]
    assert not {stage.project, stage.name} & {value for each in labels for value in each.values()}


def test_a_host_that_stands_still_is_seen_by_another(stage, metrics, metered):
    _, _, process = metered
    port = a_port()
    with stage.installation.worker(stage.client, DW_METRICS_PORT=str(port), DW_HOST="other", DW_LEASE_SECONDS="2"):
        other = Scraped(port)
        until(lambda: other.value("dw_host_up", host="local") == 1)
        process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: other.value("dw_host_up", host="local") == 0)
            assert other.value("dw_engine_up", host="local") is None
        finally:
            process.send_signal(signal.SIGCONT)
        until(lambda: other.value("dw_host_up", host="local") == 1)
