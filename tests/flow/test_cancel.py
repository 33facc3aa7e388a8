"""Cancelling, by whichever way: what runs at the engine stops, what was made is removed, what served goes on."""

import json
import time
import uuid

import pytest

from tests.throttled_registry import ThrottledRegistry


@pytest.fixture
def slow(images):
    """An image that takes a minute to be proven, where it is told to."""
    return images("slow", "v1", command=["/bin/busybox", "sleep", "600"], healthcheck=None)


@pytest.fixture
def proving(stage, slow):
    """A deployment that is being proven beside one that serves."""
    before = stage.deploy("shop:v1")
    sent = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 60}))
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    return before, sent


def by_task(stage, deployment_id):
    assert stage.ask("docker.cancel", deployment_id=deployment_id)["state"] == "cancelling"


def by_revoke(stage, deployment_id):
    stage.client.control.revoke(deployment_id)


def by_terminate(stage, deployment_id):
    stage.client.control.revoke(deployment_id, terminate=True)


def by_dw(stage, deployment_id):
    ended = stage.installation.dw("cancel", deployment_id)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "is cancelled" in ended.stdout


def is_cancelled(stage, sent, within=20):
    error = sent.get(timeout=within, propagate=False)
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    recorded = json.loads(stage.record(sent.id)["error"])
    return type(error).__name__ == recorded["type"] == "DeploymentCancelled"


@pytest.mark.parametrize("cancel", [by_task, by_revoke, by_terminate, by_dw])
def test_one_that_is_being_proven_is_undone(stage, proving, cancel):
    before, sent = proving
    cancel(stage, sent.id)
    assert is_cancelled(stage, sent)
    (left,) = stage.containers()
    assert (left["Id"], left["State"]) == (before["container_id"], "running")
    assert left["Names"] == [f"/{before['container_name']}"]


def test_flower_s_revoke_is_a_cancel(stage, proving, flower):
    before, sent = proving
    assert sent.id in flower(f"/api/task/revoke/{sent.id}?terminate=true", method="POST")
    assert is_cancelled(stage, sent)
    assert [each["Id"] for each in stage.containers()] == [before["container_id"]]
    # On a busy machine it may not answer in time.
    stage.until(lambda: json.loads(flower(f"/api/task/info/{sent.id}") or "{}").get("state") == "REVOKED")


@pytest.mark.alone
def test_a_pull_stops_at_the_engine_within_a_second(stage, record_property):
    with ThrottledRegistry() as registry:
        sent = stage.send("docker.deploy", **stage.deployment(registry.image))
        assert registry.has_sent(5_000_000)
        stage.send("docker.cancel", deployment_id=sent.id)
        asked_at = time.monotonic()
        assert registry.hung_up.wait(10)
        seconds, sent_bytes = time.monotonic() - asked_at, registry.sent
        assert is_cancelled(stage, sent)
        record_property(
            "figure",
            f"cancelled while pulling 1 GB at 10 MB/s: no byte more after {seconds:.2f} s, {sent_bytes / 1e6:.0f} MB",
        )
        assert seconds < 1
        assert registry.sent == sent_bytes
    assert stage.containers() == []


def test_a_pull_that_says_nothing_holds_nobody_up(stage):
    """The engine itself goes on waiting for a manifest that it has asked for; nobody waits for the engine."""
    with ThrottledRegistry(silent=True) as registry:
        sent = stage.send("docker.deploy", **stage.deployment(registry.image))
        assert registry.asked.wait(30)
        by_task(stage, sent.id)
        assert is_cancelled(stage, sent, within=2)


def test_one_that_waits_for_its_stage_is_cancelled_and_the_next_one_is_not(stage, proving):
    _, running = proving
    waiting = stage.send("docker.deploy", **stage.deployment("shop:v2"))
    stage.until(lambda: stage.record(waiting.id).get("step") == "expire")
    by_task(stage, waiting.id)
    assert is_cancelled(stage, waiting, within=5)
    last = stage.send("docker.deploy", **stage.deployment("shop:v2"))
    by_task(stage, running.id)
    assert is_cancelled(stage, running)
    assert last.get(timeout=30)["state"] == "live"


def test_one_that_is_yet_to_come_is_cancelled_once_it_comes(stage):
    early = str(uuid.uuid4())
    assert stage.ask("docker.cancel", deployment_id=early)["state"] == "unknown"
    sent = stage.send("docker.deploy", task_id=early, **stage.deployment("shop:v1"))
    assert is_cancelled(stage, sent)
    revoked = str(uuid.uuid4())
    stage.client.control.revoke(revoked, reply=True)
    sent = stage.send("docker.deploy", task_id=revoked, **stage.deployment("shop:v1"))
    assert is_cancelled(stage, sent)
    assert stage.containers() == []


def test_a_task_of_another_kind_can_be_revoked_as_ever(stage):
    revoked = str(uuid.uuid4())
    stage.client.control.revoke(revoked, reply=True)
    stage.send("docker.list", task_id=revoked)
    stage.until(lambda: stage.client.AsyncResult(revoked).state == "REVOKED")


def test_a_plain_pull_is_broken_off_by_a_revoke(stage):
    with ThrottledRegistry() as registry:
        sent = stage.send("docker.pull", image=registry.image)
        assert registry.has_sent(1_000_000)
        stage.client.control.revoke(sent.id)
        assert registry.hung_up.wait(2)
        error = sent.get(timeout=10, propagate=False)
    assert type(error).__name__ == "DeploymentCancelled"
    assert registry.image in error.args[0]


def test_what_has_ended_says_so(stage):
    live = stage.deploy("shop:v1")["deployment_id"]
    stage.until(lambda: stage.record(live)["step"] == "ended")
    assert stage.ask("docker.cancel", deployment_id=live)["state"] == "live"
    unchanged = stage.deploy("shop:v1")["deployment_id"]
    stage.until(lambda: stage.record(unchanged)["step"] == "ended")
    assert stage.ask("docker.cancel", deployment_id=unchanged)["state"] == "unchanged"
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=30, propagate=False)
    assert stage.ask("docker.cancel", deployment_id=failed.id)["state"] == "failed"
    ended = stage.installation.dw("cancel", live)
    assert ended.returncode == 1
    assert "has succeeded already" in ended.stdout
    assert len(stage.containers()) == 1


@pytest.mark.parametrize("option", ["--cancel-on-interrupt", None])
def test_ctrl_c_cancels_where_that_is_asked_for(stage, slow, option):
    arguments = [f"{stage.project}/staging", slow, "--timeout", "60", *filter(None, [option])]
    said = stage.installation.interrupt_dw("deploy", *arguments)
    if option:
        assert "is cancelled" in said
        assert stage.containers() == []
    else:
        assert "goes on" in said
        assert "dw cancel" in said
        stage.until(lambda: [each["State"] for each in stage.containers()] == ["running"])
