"""RabbitMQ as the broker, with Redis for results and records: the same promises, kept by other means."""

import contextlib
import gzip
import json
import os
import signal
import struct
import time
import uuid
from pathlib import Path

import amqp
import pytest
from celery import Celery

from compose import rabbitmq
from compose.process import MARK
from tests.flow.conftest import Installation, Stage, flower_of
from tests.services import required
from tests.throttled_registry import ThrottledRegistry
from worker.client import Client

CONCURRENCY = 2
QUEUE = "celery"
MOST_MEMORY = 60 * 2**20
"""By how much a worker may grow, in bytes, for messages of 100 MB."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A private RabbitMQ: its process, and its address."""
    state = Path(required(MARK)) / f"rabbitmq-{os.getpid()}"
    state.mkdir(exist_ok=True)
    with rabbitmq.private(state) as started:
        yield started


@pytest.fixture(scope="module")
def another(broker, second_redis_url, tmp_path_factory, images, installation):
    """An installation with that broker, and a client of it as anybody would write it."""
    another = Installation(second_redis_url, tmp_path_factory.mktemp("logs"), namespace=installation.namespace)
    another.environment |= {"DW_BROKER_URL": broker[1], "DW_CONCURRENCY": str(CONCURRENCY)}
    another.add_credential()
    client = Celery(broker=broker[1], backend=second_redis_url, set_as_current=False)
    yield another, client
    client.close()


@pytest.fixture
def stage(another, engine):
    made = Stage(another[1], engine, another[0])
    yield made
    made.clear()


@pytest.fixture(scope="module")
def worker(another):
    """For all that come after the tests which have workers of their own."""
    installation, client = another
    with installation.worker(client) as process:
        yield process


@pytest.fixture
def stubborn(images):
    """An image of what runs on when it is told to stop, and logs that it was."""
    script = "trap 'echo told' TERM; while true; do /bin/busybox sleep 0.2; done"
    return images("stubborn", "v3", command=["/bin/busybox", "sh", "-c", script], healthcheck=None)


def in_work(stage, image, seconds):
    """Ask for a stop that takes so long; return it and its container once a worker is at it."""
    made = stage.ask("docker.create", **stage.deployment(image))["container_id"]
    stage.ask("docker.start", container=made)
    sent = stage.send("docker.stop", container=made, timeout=seconds)
    stage.until(lambda: stage.engine.logs(made).count(b"told"))
    return sent, made


@contextlib.contextmanager
def channel_to(broker):
    address = broker[1].removeprefix("amqp://guest:guest@").rstrip("/")
    with amqp.Connection(address) as connection, connection.channel() as channel:
        yield channel


def test_a_killed_workers_messages_are_given_out_again_at_once(stage, stubborn):
    """Within less than a lease, which RabbitMQ knows nothing of."""
    with stage.installation.worker(stage.client, DW_LEASE_SECONDS="60") as doomed:
        sent, made = in_work(stage, stubborn, 4)
        with stage.installation.worker(stage.client, DW_LEASE_SECONDS="60"):
            doomed.kill()
            assert sent.get(timeout=15)["container_id"] == made


def test_a_worker_that_is_told_to_end_gives_back_what_it_is_at(stage, another):
    installation, client = another
    with ThrottledRegistry(silent=True) as registry:
        with installation.worker(client) as ending:
            sent = stage.send("docker.pull", image=registry.image)
            assert registry.asked.wait(30)
            registry.asked.clear()
            ending.send_signal(signal.SIGTERM)
            assert ending.wait(20) == 0
        with installation.worker(client):
            assert registry.asked.wait(30)
            client.control.revoke(sent.id)
            registry.ended.set()


@pytest.mark.usefixtures("worker")
def test_a_deployment_its_steps_and_what_flower_shows(stage):
    with flower_of(stage) as flower:
        first = stage.deploy("shop:v1")
        second = stage.deploy("shop:v2")
        assert second["replaced"] == [first["container_id"]]
        stage.until(lambda: "SUCCESS" in flower(f"/api/task/info/{second['deployment_id']}"))
        tasks = json.loads(flower("/api/tasks?limit=1000")).values()
    steps = {each["name"] for each in tasks if each["root_id"] == second["deployment_id"]}
    assert steps >= {"docker.deploy.pull", "docker.deploy.start", "docker.deploy.report"}
    listed = stage.installation.dw("ps", f"{stage.project}/{stage.name}")
    assert "shop:v2" in listed.stdout, listed.stderr


@pytest.mark.usefixtures("worker")
def test_the_newest_of_many_wins(stage):
    sent = [
        stage.send("docker.deploy", **stage.deployment("shop:v1", policy="missing", env={"NUMBER": str(number)}))
        for number in range(20)
    ]
    ended = [each.get(timeout=90, propagate=False) for each in sent]
    assert ended[-1]["state"] == "live"
    assert [each["Id"] for each in stage.containers()] == [ended[-1]["container_id"]]
    assert {type(each).__name__ for each in ended} <= {"dict", "DeploymentSuperseded"}


@pytest.mark.usefixtures("worker")
def test_what_is_sent_to_the_exchange_of_the_shared_queue_is_done_once(stage, broker):
    task_id = send_raw(broker, json.dumps([[], {"project": stage.project}, {}]).encode(), exchange=QUEUE)
    assert stage.client.AsyncResult(task_id).get(timeout=30)["containers"] == []
    with channel_to(broker) as channel:
        names = [QUEUE, f"dw.{stage.installation.namespace}.local"]
        assert sum(channel.queue_declare(name, passive=True).message_count for name in names) == 0


def test_a_killed_rabbitmq_costs_neither_worker_nor_deployment(stage, stubborn, worker, broker):
    server, url = broker
    stop, _ = in_work(stage, stubborn, 3)
    image = stage.image("shop:v1")
    deployed = stage.send("docker.deploy", **{**stage.deployment(image, health={"stable": 3}), "stage": "other"})
    stage.until(lambda: stage.record(deployed.id).get("step") == "prove")
    idle = Client(stage.installation.redis_url, broker_url=url)
    idle.list(stage.project)
    server.process.kill()
    server.process.wait()
    away = stage.installation.dw("deploy", f"{stage.project}/third", image)
    assert away.returncode != 0
    assert "DW_BROKER_URL" in away.stderr
    server.start()
    port = int(url.rstrip("/").rpartition(":")[2])
    server.wait_until(lambda: rabbitmq.answers(port), rabbitmq.STARTS_WITHIN)
    # By the connection that it has kept, which has ended.
    with idle:
        assert idle.list(stage.project, timeout=60)
    assert deployed.get(timeout=60)["state"] == "live"
    assert stop.get(timeout=60)["container_id"]
    assert stage.ask("docker.list", project=stage.project)["containers"]
    assert worker.poll() is None


@pytest.mark.usefixtures("worker")
def test_pulls_that_stall_hold_up_nobody(stage):
    serving = stage.deploy("shop:v1", policy="missing")
    with contextlib.ExitStack() as registries:
        stalled = [registries.enter_context(ThrottledRegistry(silent=True)) for _ in range(4 * CONCURRENCY)]
        sent = [stage.send("docker.pull", image=each.image) for each in stalled]
        stage.until(lambda: sum(each.asked.is_set() for each in stalled) >= CONCURRENCY)
        for _ in range(5):
            assert seconds_of(lambda: stage.ask("docker.list", project=stage.project)) < 1
        assert stage.ask("docker.stop", container=serving["container_id"])["container_id"]
        assert sum(each.asked.is_set() for each in stalled) == CONCURRENCY
        for each in sent:
            stage.client.control.revoke(each.id)
        for each in stalled:
            each.ended.set()


def seconds_of(ask):
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def send_raw(broker, body, headers=None, exchange="", **properties):
    task_id = str(uuid.uuid4())
    named = {"application_headers": {"lang": "any", "task": "docker.list", "id": task_id, **(headers or {})}}
    sent = amqp.Message(body, content_type="application/json", content_encoding="utf-8", **{**named, **properties})
    with channel_to(broker) as channel:
        channel.basic_publish_confirm(sent, exchange=exchange, routing_key=QUEUE)
    return task_id


class Spoiled(amqp.Message):
    """One whose headers are these bytes."""

    def __init__(self, headers):
        super().__init__(b"[[], {}, {}]")
        self._headers = headers

    def _serialize_properties(self):
        return struct.pack(">HI", 1 << 13, len(self._headers)) + self._headers


def nested(levels):
    table = b""
    for _ in range(levels):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return table


def most_memory(process):
    """Bytes that a process has had at the most since that was cleared."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_hostile_messages_are_refused_within_bounds_and_the_worker_goes_on(stage, worker, broker):
    stage.ask("docker.list")
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")
    before = most_memory(worker)
    bomb = gzip.compress(bytes(500_000_000), compresslevel=1)[:900_000]
    told = {
        "long": send_raw(broker, b'[[], {"a": "' + b"x" * 100_000_000 + b'"}, {}]'),
        "compressed": send_raw(broker, bomb, {"compression": "application/x-gzip"}),
        "nonsense": send_raw(broker, b"{"),
        "a task of Celery's": send_raw(broker, b"[[], {}, {}]", {"task": "celery.map"}),
        "a workflow": send_raw(broker, b'[[], {}, {"chain": [{"task": "docker.list"}]}]'),
    }
    for wrong, task_id in told.items():
        error = stage.client.AsyncResult(task_id).get(timeout=30, propagate=False)
        assert type(error).__name__ == "SpecInvalid", wrong
    with channel_to(broker) as channel:
        for spoiled in (nested(10_000), b"\x01\xfft\x01", b"\x01aT" + b"\xff" * 8, b""):
            channel.basic_publish_confirm(Spoiled(spoiled), routing_key=QUEUE)
    for _ in range(3):
        stage.ask("docker.list")
    with channel_to(broker) as channel:
        assert channel.queue_declare(QUEUE, passive=True).message_count == 0
    assert worker.poll() is None
    assert most_memory(worker) - before < MOST_MEMORY
