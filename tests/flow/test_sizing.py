"""What a deployment and a worker cost Redis: the figures of docs/scaling.md."""

import collections
import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
import redis
from celery import Celery

from compose import redis as compose_redis
from compose.process import MARK
from tests.flow.conftest import Installation, Stage
from tests.services import required

DEPLOYMENTS = 10
IDLE_SECONDS = 5


@pytest.fixture(scope="module")
def another(tmp_path_factory, images, installation):
    """An installation whose Redis nobody else uses, with all waits as they are by default, and its client."""
    state = Path(required(MARK)) / f"sizing-{os.getpid()}"
    state.mkdir(exist_ok=True)
    with compose_redis.private(state) as own:
        another = Installation(own.url, tmp_path_factory.mktemp("logs"), namespace=installation.namespace)
        for name in [name for name in another.environment if name.startswith("DW_LEASE")]:
            del another.environment[name]
        another.add_credential()
        client = Celery(broker=own.url, backend=own.url, set_as_current=False)
        with another.worker(client):
            yield another, client
        client.close()


@pytest.fixture
def stage(another, engine):
    made = Stage(another[1], engine, another[0])
    yield made
    made.clear()


@contextlib.contextmanager
def counting(url):
    """How often each command is sent to a Redis, and what scripts call, until the block ends."""
    sent, called = collections.Counter(), collections.Counter()
    with redis.Redis.from_url(url) as connection, connection.monitor() as monitor:

        def listen():
            while (told := monitor.next_command())["command"] != "PING enough":
                (called if told["client_type"] == "lua" else sent)[told["command"].split(" ")[0]] += 1

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield sent, called
        finally:
            connection.execute_command("PING", "enough")
            thread.join()


def sizes(url):
    """Of each kind of key: how many there are, their bytes, and how many are kept for good."""
    kinds = collections.defaultdict(lambda: [0, 0, 0])
    with redis.Redis.from_url(url, decode_responses=True) as connection:
        for key in connection.scan_iter():
            kind = key.split(":")[2] if key.startswith("dw:") else key.partition("meta-")[0]
            kinds[kind][0] += 1
            kinds[kind][1] += connection.memory_usage(key) or 0
            kinds[kind][2] += connection.ttl(key) < 0
    return kinds


def test_what_redis_needs(stage, record_property):
    url = stage.installation.redis_url
    arguments = {"policy": "missing", "health": {"stable": 0}}
    stage.deploy("shop:v1", **arguments)
    with counting(url) as (idle, idle_called):
        threading.Event().wait(IDLE_SECONDS)
    per_second = (idle.total() + idle_called.total()) / IDLE_SECONDS
    began = time.monotonic()
    with counting(url) as (sent, called):
        results = [
            stage.deploy(f"shop:v{number % 2 + 1}", **arguments, env={"NUMBER": str(number)})
            for number in range(DEPLOYMENTS)
        ]
    took = time.monotonic() - began
    steps = {
        step: sum(each["seconds"].get(step, 0) for each in results) / DEPLOYMENTS for step in results[0]["seconds"]
    }
    commands = sent.total() / DEPLOYMENTS - idle.total() / IDLE_SECONDS * took / DEPLOYMENTS
    inner = called.total() / DEPLOYMENTS - idle_called.total() / IDLE_SECONDS * took / DEPLOYMENTS
    record_property(
        "figure",
        f"a deployment: {commands:.0f} commands to Redis and {inner:.0f} in its scripts; an idle worker: "
        f"{per_second:.1f} of both a second",
    )
    told = ", ".join(f"{step} {seconds * 1000:.0f}" for step, seconds in steps.items())
    record_property("figure", f"a deployment took {took / DEPLOYMENTS * 1000:.0f} ms, its steps {told}")
    record_property("figure", f"most sent, for each deployment: {most(sent)}; in scripts: {most(called)}")
    for kind, (count, size, kept) in sorted(sizes(url).items()):
        record_property(
            "figure", f"keys {kind}: {count} of {size / count:.0f} bytes on average, {kept} without an expiry"
        )
    with redis.Redis.from_url(url) as connection:
        record_property("figure", f"connections of a worker and its client: {connection.info()['connected_clients']}")
    assert commands < 120
    record = sizes(url)["deployment"]
    assert record[1] / record[0] < 8192


def most(counted):
    return ", ".join(f"{name} {count / DEPLOYMENTS:.0f}" for name, count in counted.most_common(8))
