"""Orders to a whole stage: stop, restart, remove, one after the other with its deployments."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import docker
import pytest
import redis
from celery import Celery

from compose.jobimage import build_job_image, push
from tests.chaos.victims import Engine
from tests.flow.conftest import Installation, Stage


@pytest.fixture
def slow(images):
    """An image that takes as long to be stopped as it may."""
    deaf = "trap '' TERM; while :; do /bin/busybox sleep 1; done"
    return images("deaf", "v1", command=["/bin/busybox", "sh", "-c", deaf], healthcheck=None)


@pytest.fixture
def held(images):
    """An image whose health check comes to an end when `let_go` has it do so."""
    check = ["/bin/busybox", "sh", "-c", "until [ -e /go ]; do /bin/busybox sleep 0.1; done"]
    return images("held", "v1", command=["/bin/busybox", "sleep", "600"], healthcheck=check, health_seconds=300)


@pytest.fixture
def two(stage, slow):
    """A stage with two instances, of which the newer one takes its time to stop."""
    return stage.deploy("shop:v1"), stage.deploy(slow, keep=2, health={"stable": 0})


def order(stage, action, **arguments):
    return stage.send("docker.stage", project=stage.project, stage=stage.name, action=action, **arguments)


def carried_out(stage, action, **arguments):
    return order(stage, action, **arguments).get(timeout=60)


def being_proven(stage, held):
    sent = stage.send("docker.deploy", **stage.deployment(held, health={"timeout": 300}))
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    return sent


def let_go(stage, sent):
    """Have a deployment be proven, and return its result."""
    (made,) = (each["Id"] for each in stage.containers() if each["Labels"]["docker-watcher.deployment-id"] == sent.id)
    stage.engine.exec_start(stage.engine.exec_create(made, ["/bin/busybox", "touch", "/go"]))
    return sent.get(timeout=60)


def at_the_newest(stage, sent):
    """Await that an order to stop is at the newest container."""
    stage.until(lambda: inspected(stage)[0]["HostConfig"]["RestartPolicy"]["Name"] == "no")
    return sent


def waiting(stage, sent):
    stage.until(lambda: stage.record(sent.id).get("step") == "expire")
    return sent


def error_of(sent):
    return sent.get(timeout=60, propagate=False)


def inspected(stage):
    """All containers of the stage, newest first."""
    return [stage.engine.inspect_container(each["Id"]) for each in stage.containers()]


def states(stage):
    """Each container's state and restart policy."""
    return [(each["State"]["Status"], each["HostConfig"]["RestartPolicy"]["Name"]) for each in inspected(stage)]


def ports_of(container):
    bound = container["NetworkSettings"]["Ports"]
    return {port: int(where[0]["HostPort"]) for port, where in bound.items() if where}


def recorded_ports(stage, deployment_id):
    return json.loads(stage.record(deployment_id)["found"])["ports"]


def test_a_stop_waits_for_a_deployment_and_wins(stage, held):
    deployment = being_proven(stage, held)
    stop = waiting(stage, order(stage, "stop", timeout=30))
    live = let_go(stage, deployment)
    result = stop.get(timeout=60)
    assert live["state"] == "live"
    assert result == {
        "deployment_id": stop.id,
        "project": stage.project,
        "stage": stage.name,
        "action": "stop",
        "containers": [
            {"container_id": live["container_id"], "container_name": live["container_name"], "exit_code": 143}
        ],
    }
    assert states(stage) == [("exited", "no")]


def test_of_a_deployment_and_a_stop_that_wait_the_last_one_asked_for_wins(stage, held):
    running = being_proven(stage, held)
    between = waiting(stage, stage.send("docker.deploy", **stage.deployment("shop:v1")))
    stop = waiting(stage, order(stage, "stop", timeout=30))
    assert type(error_of(between)).__name__ == "DeploymentSuperseded"
    last = stage.send("docker.deploy", **stage.deployment("shop:v2"))
    superseded = error_of(stop)
    assert type(superseded).__name__ == "DeploymentSuperseded"
    assert superseded.args[1]["by"] == last.id
    assert let_go(stage, running)["state"] == "live"
    live = last.get(timeout=60)
    assert [each["Id"] for each in stage.containers()] == [live["container_id"]]
    assert states(stage) == [("running", "always")]


def test_a_restart_is_not_needed_where_a_deployment_waits(stage, held):
    running = being_proven(stage, held)
    next_one = waiting(stage, stage.send("docker.deploy", **stage.deployment("shop:v1")))
    superseded = error_of(order(stage, "restart"))
    assert type(superseded).__name__ == "DeploymentSuperseded"
    assert superseded.args[1]["by"] == next_one.id
    let_go(stage, running)
    assert next_one.get(timeout=60)["state"] == "live"


def test_a_restart_starts_what_was_stopped_and_notes_its_ports(stage):
    live = stage.deploy("shop:v1", restart="on-failure:2")
    carried_out(stage, "stop")
    assert states(stage) == [("exited", "no")]
    (restarted,) = carried_out(stage, "restart")["containers"]
    (container,) = inspected(stage)
    assert container["State"]["Running"]
    assert container["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert restarted["container_id"] == live["container_id"]
    assert restarted["ports"] == ports_of(container) == recorded_ports(stage, live["deployment_id"])
    assert restarted["ports"] != live["ports"]
    # The result is told before the stage is let go.
    stage.until(lambda: "running" not in stage_hash(stage))
    assert stage_hash(stage)["live"] == live["deployment_id"]


def stage_hash(stage):
    key = f"dw:{stage.installation.namespace}:stage:{stage.project}/{stage.name}"
    with redis.Redis.from_url(stage.installation.redis_url, decode_responses=True) as connection:
        return connection.hgetall(key)


@pytest.mark.parametrize("image", ["shop:v1", "shop:v2"])
def test_a_stopped_stage_is_deployed_to_as_any(stage, image):
    before = stage.deploy("shop:v1", aliases=[stage.alias])
    carried_out(stage, "stop")
    live = stage.deploy(image, aliases=[stage.alias])
    assert (live["state"], live["replaced"]) == ("live", [before["container_id"]])
    assert states(stage) == [("running", "always")]


def test_a_failed_deployment_leaves_a_stopped_stage_as_it_was(stage):
    before = stage.deploy("shop:v1")
    carried_out(stage, "stop")
    assert type(error_of(stage.send("docker.deploy", **stage.deployment("shop:v9")))).__name__ == "ImageNotFound"
    assert [each["Id"] for each in stage.containers()] == [before["container_id"]]
    assert states(stage) == [("exited", "no")]


def test_all_instances_are_dealt_with_in_their_order(stage, two):
    older, newer = two
    stopped = carried_out(stage, "stop", timeout=0)["containers"]
    assert [each["container_id"] for each in stopped] == [newer["container_id"], older["container_id"]]
    restarted = carried_out(stage, "restart", timeout=0)["containers"]
    assert [each["container_id"] for each in restarted] == [older["container_id"], newer["container_id"]]
    assert states(stage) == [("running", "always")] * 2
    for each, container in zip((newer, older), inspected(stage), strict=True):
        assert recorded_ports(stage, each["deployment_id"]) == ports_of(container)


def test_what_runs_is_removed_by_force_only(stage, two):
    refused = error_of(order(stage, "remove"))
    assert type(refused).__name__ == "SpecInvalid"
    assert states(stage) == [("running", "always")] * 2
    removed = carried_out(stage, "remove", force=True, timeout=0)["containers"]
    assert [each["container_id"] for each in removed] == [each["container_id"] for each in two]
    assert stage.containers() == []
    assert "live" not in stage_hash(stage)
    for action in ("stop", "restart", "remove"):
        assert type(error_of(order(stage, action))).__name__ == "ContainerNotFound"


def test_what_is_stopped_is_removed_without_force(stage):
    stage.deploy("shop:v1")
    carried_out(stage, "stop")
    assert len(carried_out(stage, "remove")["containers"]) == 1
    assert stage.containers() == []


def made_by_hand(stage, *command):
    """A container as one of another version of the product would have made it, without what this one labels it with."""
    ours = {
        "namespace": stage.installation.namespace,
        "project": stage.project,
        "stage": stage.name,
        "deployment-id": "another",
    }
    return stage.engine.create_container(
        stage.image("shop:v1"),
        list(command) or None,
        # A second engine that a test starts takes the private one's default bridge away.
        host_config=stage.engine.create_host_config(network_mode="none"),
        labels={f"docker-watcher.{name}": value for name, value in ours.items()},
    )["Id"]


def test_one_whose_restart_policy_is_not_known_always_restarts(stage):
    made_by_hand(stage)
    carried_out(stage, "stop")
    assert states(stage) == [("created", "no")]
    carried_out(stage, "restart")
    assert states(stage) == [("running", "always")]


def test_one_that_does_not_start_again_says_why(stage):
    made = made_by_hand(stage, "/no/such/command")
    error = error_of(order(stage, "restart"))
    assert type(error).__name__ == "StartFailed"
    assert error.args[1].keys() >= {"exit_code", "logs", "stage"}
    assert stage.engine.inspect_container(made)["Name"].removeprefix("/") in error.args[0]


def test_only_managed_containers_of_this_stage_are_touched(stage, client, installation):
    stage.deploy("shop:v1")
    another = Stage(client, stage.engine, installation, stage.project, "another")
    other_stage = another.deploy("shop:v1")["container_id"]
    foreign = stage.engine.create_container(
        stage.image("shop:v1"),
        host_config=stage.engine.create_host_config(network_mode="none"),
        labels={"docker-watcher.project": stage.project, "docker-watcher.stage": stage.name},
    )["Id"]
    stage.engine.start(foreign)
    carried_out(stage, "remove", force=True)
    assert {each["Id"] for each in stage.containers()} == {other_stage, foreign}
    assert {each["State"] for each in stage.containers()} == {"running"}
    stage.engine.remove_container(foreign, force=True)


def test_containers_that_vanish_meanwhile_are_no_failure(stage, two):
    older, newer = two
    stop = at_the_newest(stage, order(stage, "stop", timeout=10))
    stage.engine.remove_container(older["container_id"], force=True)
    assert [each["container_id"] for each in stop.get(timeout=60)["containers"]] == [newer["container_id"]]


def test_an_order_delivered_twice_is_carried_out_once(stage):
    live = stage.deploy("shop:v1")
    task_id = str(uuid.uuid4())
    sent = [order(stage, "restart", task_id=task_id) for _ in range(2)]
    result = sent[0].get(timeout=60)
    started = stage.engine.inspect_container(live["container_id"])["State"]["StartedAt"]
    assert order(stage, "restart", task_id=task_id).get(timeout=60) == result
    stage.ask("docker.list")
    assert stage.engine.inspect_container(live["container_id"])["State"]["StartedAt"] == started
    assert result["containers"][0]["started_at"] == started


def test_one_that_waits_is_cancelled_before_anything_has_happened(stage, held):
    running = being_proven(stage, held)
    stop = waiting(stage, order(stage, "stop", timeout=30))
    assert stage.ask("docker.cancel", deployment_id=stop.id)["state"] == "cancelling"
    cancelled = error_of(stop)
    assert type(cancelled).__name__ == "DeploymentCancelled"
    assert stage.project in cancelled.args[0]
    assert let_go(stage, running)["state"] == "live"
    stage.until(lambda: stage.record(stop.id)["step"] == "ended")
    assert stage.ask("docker.cancel", deployment_id=stop.id)["state"] == "cancelled"
    assert states(stage) == [("running", "always")]


def test_one_that_is_cancelled_is_broken_off_at_the_next_container(stage, two):
    stop = at_the_newest(stage, order(stage, "stop", timeout=10))
    assert stage.ask("docker.cancel", deployment_id=stop.id)["state"] == "cancelling"
    assert type(error_of(stop)).__name__ == "DeploymentCancelled"
    assert states(stage) == [("exited", "no"), ("running", "always")]
    assert carried_out(stage, "stop", timeout=0)["action"] == "stop"
    assert states(stage) == [("exited", "no")] * 2


def test_a_revoked_order_that_is_yet_to_come_is_cancelled_once_it_comes(stage):
    stage.deploy("shop:v1")
    revoked = str(uuid.uuid4())
    stage.client.control.revoke(revoked, reply=True)
    assert type(error_of(order(stage, "stop", task_id=revoked))).__name__ == "DeploymentCancelled"
    assert states(stage) == [("running", "always")]


def test_what_is_done_says_so(stage):
    stage.deploy("shop:v1")
    stop = order(stage, "stop")
    stop.get(timeout=60)
    stage.until(lambda: stage.record(stop.id)["step"] == "ended")
    assert stage.ask("docker.cancel", deployment_id=stop.id)["state"] == "done"
    ended = stage.installation.dw("cancel", stop.id)
    assert (ended.returncode, "is done" in ended.stdout) == (1, True)


def test_ctrl_c_leaves_an_order_to_go_on(stage, held):
    deployment = being_proven(stage, held)
    with subprocess.Popen(
        [Path(sys.executable).with_name("dw"), "stop", f"{stage.project}/{stage.name}", "--timeout", "0"],
        env=stage.installation.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stage.until(lambda: "waiting" in stage_hash(stage))
        os.kill(process.pid, signal.SIGINT)
        assert "goes on; to end it: dw cancel" in process.stderr.read()
        assert process.wait(40) == 130
    assert let_go(stage, deployment)["state"] == "live"
    stage.until(lambda: states(stage) == [("exited", "no")])


def test_a_stopped_stage_stays_so_over_a_worker_s_restart(unserved_stage):
    stage = unserved_stage
    with stage.installation.worker(stage.client):
        stage.deploy("shop:v1", policy="missing")
        carried_out(stage, "stop")
    with stage.installation.worker(stage.client):
        found = stage.ask("docker.reconcile")
        # Its namespace is also that of other tests.
        assert not [name for what in ("removed", "failed", "adopted") for name in found[what] if stage.project in name]
        assert states(stage) == [("exited", "no")]
        carried_out(stage, "restart")
        assert states(stage) == [("running", "always")]


@pytest.fixture
def mortal(second_redis_url, tmp_path):
    """A stage on an engine that can be killed, and that engine."""
    with contextlib.ExitStack() as stack:
        engine = Engine(tmp_path)
        stack.callback(engine.stop)
        engine.start()
        installation = Installation(second_redis_url, tmp_path)
        installation.environment["DOCKER_HOST"] = engine.host
        installation.add_credential()
        api = stack.enter_context(contextlib.closing(docker.APIClient(engine.host, version="auto")))
        reference = installation.image("shop", "v1")
        build_job_image(api, reference, page="shop", healthcheck=None)
        push(api, reference, installation.username, installation.password)
        client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
        stack.enter_context(contextlib.closing(client))
        yield Stage(client, api, installation), engine
        for each in api.containers(all=True):
            api.remove_container(each["Id"], force=True)


@pytest.mark.needs_private_engine
def test_a_stopped_stage_stays_so_over_an_engine_s_death(mortal):
    stage, engine = mortal
    another = Stage(stage.client, stage.engine, stage.installation)
    with stage.installation.worker(stage.client):
        for each in (stage, another):
            each.deploy("shop:v1")
        carried_out(stage, "stop")
        engine.die_for(0)
        another.until(lambda: states(another) == [("running", "always")])
        assert states(stage) == [("exited", "no")]
        carried_out(stage, "restart")
        assert states(stage) == [("running", "always")]
