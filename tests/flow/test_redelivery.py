"""A message is given out again when its worker has died, and only then."""

import pytest
import redis

from tests.flow.conftest import Stage
from tests.flow.doomed import Doom, start_worker

LEASE = 2
"""Seconds: what `Installation` sets."""


@pytest.fixture
def stage(unserved_stage):
    return unserved_stage


@pytest.fixture
def stubborn(stage, client, installation, worker, images):
    """A container that runs on when it is told to stop, and logs that it was."""
    script = "trap 'echo told' TERM; while true; do /bin/busybox sleep 0.2; done"
    image = images("stubborn", "v2", command=["/bin/busybox", "sh", "-c", script], healthcheck=None)
    usual = Stage(client, stage.engine, installation, stage.project)
    made = usual.ask("docker.create", **usual.deployment(image))["container_id"]
    usual.ask("docker.start", container=made)
    return made


def in_work(stage, container, seconds):
    """Ask for a stop that takes so long, and return once a worker is at it."""
    sent = stage.send("docker.stop", container=container, timeout=seconds)
    stage.until(lambda: times_told(stage, container))
    return sent


def times_told(stage, container):
    return stage.engine.logs(container).count(b"told")


def was_redelivered(stage, task_id):
    with redis.Redis.from_url(stage.installation.redis_url) as connection:
        return connection.exists(f"dw:{stage.installation.namespace}:redelivered:{task_id}")


def test_another_worker_does_what_a_killed_one_was_at(stage, stubborn):
    with stage.installation.worker(stage.client) as doomed:
        sent = in_work(stage, stubborn, 12)
        with stage.installation.worker(stage.client):
            assert sent.state == "STARTED"
            doomed.kill()
            assert sent.get(timeout=60)["container_id"] == stubborn
    assert was_redelivered(stage, sent.id)


def test_what_takes_longer_than_a_lease_is_done_once(stage, stubborn):
    with stage.installation.worker(stage.client), stage.installation.worker(stage.client):
        sent = in_work(stage, stubborn, 4 * LEASE)
        sent.get(timeout=30)
        assert times_told(stage, stubborn) == 1
        assert not was_redelivered(stage, sent.id)


def test_a_worker_that_was_told_to_end_keeps_what_it_is_at(stage, stubborn):
    with stage.installation.worker(stage.client) as ending:
        sent = in_work(stage, stubborn, 6 * LEASE)
        with stage.installation.worker(stage.client):
            ending.terminate()
            sent.get(timeout=30)
            assert times_told(stage, stubborn) == 1
            assert not was_redelivered(stage, sent.id)


def test_what_waits_in_a_worker_for_its_time_is_done_once(stage):
    with stage.installation.worker(stage.client), stage.installation.worker(stage.client):
        sent = stage.client.send_task("docker.list", kwargs={"project": stage.project}, countdown=3 * LEASE)
        assert sent.get(timeout=30) == {"containers": []}
        assert not was_redelivered(stage, sent.id)


@pytest.mark.parametrize(
    ("task", "arguments", "effect"),
    [
        ("docker.inspect", {"image": "acme/shop:1"}, "GET /images/.*"),
        ("docker.deploy", {"project": "shop", "stage": "live", "image": "acme/shop:1"}, "accept"),
    ],
    ids=["docker.inspect", "docker.deploy"],
)
def test_what_kills_every_worker_is_given_up(stage, task, arguments, effect):
    error = given_up(stage, Doom("before", effect), stage.send(task, **arguments))
    assert f"{task} failed: its worker died, or gave it back, 5 times" in error.args[0]


def test_a_step_that_kills_every_worker_ends_its_deployment(stage, images):
    with stage.installation.worker(stage.client):
        before = stage.deploy(images("shop", "v1"), policy="missing")
    sent = stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing"))
    error = given_up(stage, Doom("before", "POST /containers/create"), sent)
    assert "step create was begun 5 times and never came to an end" in error.args[0]
    assert [each["Id"] for each in stage.containers()] == [before["container_id"]]


def given_up(stage, doom, sent):
    """Start one worker after the other that dies of it, and return its error."""
    doom.armed.set()
    deaths = 0
    while not sent.ready():
        assert deaths < 6
        worker = start_worker(stage.installation.environment, stage.installation.folder / "doomed.log", doom)
        try:
            stage.until(lambda worker=worker: sent.ready() or not worker.is_alive())
            deaths += not worker.is_alive()
        finally:
            worker.kill()
            worker.join()
    assert deaths == 5
    error = sent.get(propagate=False)
    assert type(error).__name__ == "EngineUnavailable"
    return error
