"""`SIGTERM`: a worker ends within a bound; what it can't end is another one's, or its own once it is back."""

import signal
import time

import pytest

from tests.throttled_registry import ThrottledRegistry


@pytest.fixture
def stage(unserved_stage):
    return unserved_stage


def seconds_to_end(process):
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.monotonic() - began


def test_a_pull_is_handed_on(stage):
    with ThrottledRegistry() as registry, stage.installation.worker(stage.client) as first:
        sent = stage.send("docker.deploy", **stage.deployment(registry.image))
        assert registry.has_sent(1_000_000)
        assert seconds_to_end(first) < 10
        assert registry.hung_up.wait(5)
        assert first.returncode == 0
        assert (stage.record(sent.id)["step"], stage.record(sent.id).get("holder")) == ("pull", None)
        already = registry.sent
        with stage.installation.worker(stage.client):
            assert registry.has_sent(already + 1_000_000)
            stage.ask("docker.cancel", deployment_id=sent.id)
            assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"


def test_a_plain_pull_is_given_back(stage):
    with ThrottledRegistry() as registry, stage.installation.worker(stage.client) as first:
        sent = stage.send("docker.pull", image=registry.image)
        assert registry.has_sent(1_000_000)
        assert seconds_to_end(first) < 10
        already = registry.sent
        with stage.installation.worker(stage.client):
            assert registry.has_sent(already + 1_000_000)
            stage.client.control.revoke(sent.id)
            assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"


def test_what_does_not_end_in_time_is_left_to_others(stage, images):
    script = "trap '' TERM; while true; do /bin/busybox sleep 0.2; done"
    image = images("deaf", "v1", command=["/bin/busybox", "sh", "-c", script], healthcheck=None)
    with stage.installation.worker(stage.client, DW_SHUTDOWN_SECONDS="2", DW_STOP_TIMEOUT="8") as first:
        before = stage.deploy(image, policy="missing")
        sent = stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing"))
        stage.until(lambda: stage.record(sent.id).get("step") == "retire")
        assert seconds_to_end(first) < 5
    with stage.installation.worker(stage.client):
        assert sent.get(timeout=30)["replaced"] == [before["container_id"]]
    assert len(stage.containers()) == 1


def test_what_waits_goes_on_with_the_next_worker(stage, images):
    image = images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    with stage.installation.worker(stage.client) as first:
        sent = stage.send("docker.deploy", **stage.deployment(image, policy="missing", health={"stable": 5}))
        stage.until(lambda: stage.record(sent.id).get("step") == "prove")
        (candidate,) = stage.containers()
        assert seconds_to_end(first) < 10
        assert first.returncode == 0
    with stage.installation.worker(stage.client):
        assert sent.get(timeout=30)["container_id"] == candidate["Id"]


def test_what_it_still_ends_is_told_to_monitors(stage, images):
    script = "trap '' TERM; while true; do /bin/busybox sleep 0.2; done"
    image = images("deaf", "v1", command=["/bin/busybox", "sh", "-c", script], healthcheck=None)
    told = []
    with (
        stage.installation.worker(stage.client, DW_STOP_TIMEOUT="2") as first,
        stage.client.connection_for_read() as connection,
    ):
        heard = stage.client.events.Receiver(connection, handlers={"*": told.append}).itercapture(timeout=30)
        next(heard)
        stage.deploy(image, policy="missing")
        stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing"))
        begun = next(filter(None, (next(uuids_of(told, "docker.deploy.retire"), None) for _ in heard)))
        assert seconds_to_end(first) < 10
        assert any(("task-succeeded", begun) in {(each["type"], each.get("uuid")) for each in told} for _ in heard)


def uuids_of(told, task):
    return (each["uuid"] for each in told if each.get("name") == task)
