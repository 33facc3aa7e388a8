"""A Redis that is lost for a while, under a busy worker."""

import json
import socket
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from celery import Celery

from compose import redis as compose_redis
from tests.flow.conftest import Installation, Stage
from tests.flow.relay import Relay


@pytest.fixture
def relay(second_redis_url):
    parts = urlsplit(second_redis_url)
    relay = Relay(parts.hostname, parts.port or 6379)
    yield relay
    relay.shutdown()
    relay.server_close()


@pytest.fixture
def stage(second_redis_url, relay, tmp_path, engine, images, installation):
    """A stage whose worker reaches Redis by way of the relay, and whose client doesn't."""
    another = Installation(second_redis_url, tmp_path, namespace=installation.namespace)
    parts = urlsplit(second_redis_url)
    login = parts.netloc.rpartition("@")[0]
    place = f"{login}@127.0.0.1" if login else "127.0.0.1"
    another.environment["DW_REDIS_URL"] = urlunsplit(parts._replace(netloc=f"{place}:{relay.server_address[1]}"))
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    made = Stage(client, engine, another)
    yield made
    made.clear()
    client.close()


@pytest.fixture
def replica(second_redis_url, tmp_path):
    """A Redis that copies the one before it, and can take its place."""
    parts = urlsplit(second_redis_url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"replicaof": f"{parts.hostname} {parts.port or 6379}"}
    if parts.password:
        settings |= {"masterauth": parts.password}
    daemon = compose_redis.daemon("replica", tmp_path, tmp_path, port, settings)
    daemon.start()
    with redis.Redis(port=port, db=int(parts.path.lstrip("/"))) as connection:
        daemon.wait_until(lambda: is_in_step(connection), 20)
        yield connection
    daemon.stop()


def is_in_step(connection):
    try:
        return connection.info("replication").get("master_link_status") == "up"
    except redis.RedisError:
        return False


def test_a_replica_takes_over_in_the_middle_of_a_deployment(stage, relay, replica, images):
    """As a proxy that follows Sentinel has it; what was written until then has been copied."""
    image = images("stubborn", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    with stage.installation.worker(stage.client) as process:
        deployed = stage.send("docker.deploy", **stage.deployment(image, policy="missing", health={"stable": 4}))
        stage.until(lambda: stage.record(deployed.id).get("step") == "prove")
        # A replica has written what its master has answered to within a moment.
        stage.until(lambda: replica.hget(record_key(stage, deployed.id), "step") == b"prove")
        relay.cut()
        replica.replicaof("NO", "ONE")
        relay.target = ("127.0.0.1", replica.connection_pool.connection_kwargs["port"])
        relay.mend()
        stage.until(lambda: replica.hget(record_key(stage, deployed.id), "step") == b"ended", 60)
        assert json.loads(replica.get(f"celery-task-meta-{deployed.id}"))["result"]["state"] == "live"
        assert process.poll() is None


def record_key(stage, deployment_id):
    return f"dw:{stage.installation.namespace}:deployment:{deployment_id}"


def test_a_busy_worker_survives_and_ends_what_it_was_at(stage, relay, images):
    image = images("stubborn", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    with stage.installation.worker(stage.client) as process:
        made = stage.ask("docker.create", **stage.deployment("shop:v1"))["container_id"]
        stage.ask("docker.start", container=made)
        arguments = stage.deployment(image, policy="missing", health={"stable": 8})
        deployed = stage.send("docker.deploy", **{**arguments, "stage": "other"})
        stage.until(lambda: stage.record(deployed.id).get("step") == "prove")
        stubborn = next(each["Id"] for each in stage.containers() if each["Id"] != made)
        # Busy for two seconds: it doesn't hear SIGTERM.
        stage.send("docker.stop", container=stubborn, timeout=2)
        stage.until(lambda: stage.client.control.inspect().active() is not None)
        relay.cut()
        threading.Event().wait(3)
        relay.mend()
        assert stage.ask("docker.list", project=stage.project)["containers"]
        assert process.poll() is None
        # Stopped under its hands, the candidate is started once more, and proven.
        assert deployed.get(timeout=60)["container_id"] == stubborn
        assert {each["Id"] for each in stage.containers()} == {made, stubborn}


def test_a_worker_says_that_it_does_not_work_without_it_and_that_it_does_again(stage, relay, free_port):
    def health():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    with stage.installation.worker(stage.client, DW_METRICS_PORT=str(free_port)):
        stage.until(lambda: health() == (200, "ok\n"))
        relay.cut()
        stage.until(lambda: health()[0] == 503)
        assert "has stood still for" in health()[1]
        relay.mend()
        stage.until(lambda: health() == (200, "ok\n"))
