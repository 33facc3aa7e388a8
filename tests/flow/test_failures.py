"""Each way to fail: the right error, the name of what it was about, nothing left, the worker still serving."""

import socket
import uuid

import pytest

GONE = {"container": "0123456789abcdef"}


@pytest.fixture(autouse=True)
def _the_worker_still_serves(stage):
    yield
    assert stage.ask("docker.list", project=stage.project, all=True)["containers"] == []
    assert stage.containers() == []


def failure(stage, task, /, **arguments):
    error = stage.send(task, **arguments).get(timeout=120, propagate=False)
    assert isinstance(error, Exception), error
    message = error.args[0]
    assert "\n" not in message
    return type(error).__name__, message


def test_no_such_tag(stage):
    kind, message = failure(stage, "docker.deploy", **stage.deployment("shop:v9"))
    assert kind == "ImageNotFound"
    assert stage.image("shop:v9") in message


def test_no_such_repository(stage):
    kind, message = failure(stage, "docker.deploy", **stage.deployment("nothing:v1"))
    assert kind == "ImageNotFound"
    assert stage.image("nothing:v1") in message


def test_a_registry_that_is_down_is_tried_again_and_then_given_up(stage):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        image = f"127.0.0.1:{closed.getsockname()[1]}/acme/shop:v1"
        sent = stage.send("docker.deploy", **stage.deployment(image))
        stage.until(lambda: int(stage.record(sent.id).get("attempt", 0)) > 1)
        error = sent.get(timeout=60, propagate=False)
    assert type(error).__name__ == "RegistryUnavailable"
    assert image in error.args[0]
    assert error.args[1]["retryable"] is True


def test_no_such_credential(stage):
    kind, message = failure(stage, "docker.deploy", **stage.deployment("shop:v1", credential="nobody"))
    assert kind == "CredentialMissing"
    assert "nobody" in message


def test_a_credential_is_not_offered_to_another_registry(stage):
    kind, message = failure(
        stage, "docker.deploy", **stage.deployment("127.0.0.1:1/acme/shop:v1", credential="registry")
    )
    assert kind == "CredentialMissing"
    assert "127.0.0.1:1" in message


def test_no_such_further_network(stage):
    kind, message = failure(stage, "docker.deploy", **stage.deployment("shop:v1", network="nowhere"))
    assert kind == "NetworkNotFound"
    assert "nowhere" in message


def test_a_port_that_is_taken(stage):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        kind, message = failure(stage, "docker.deploy", **stage.deployment("shop:v1", ports={"8080/tcp": port}))
    assert kind == "PortInUse"
    assert stage.project in message


def test_a_name_that_somebody_elses_container_has(stage, installation):
    stage.ask("docker.pull", image=stage.image("shop:v1"))
    name = f"{installation.namespace}-{stage.project}-staging-v1"
    theirs = stage.engine.create_container(stage.image("shop:v1"), name=name)["Id"]
    try:
        for task in ("docker.deploy", "docker.create"):
            kind, message = failure(stage, task, **stage.deployment("shop:v1"))
            assert kind == "NameConflict"
            assert name in message
        assert stage.engine.inspect_container(theirs)["State"]["Status"] == "created"
    finally:
        stage.engine.remove_container(theirs)


def test_a_deadline_that_passes(stage, images):
    image = images("sleepy", "v1", healthcheck=["/bin/busybox", "sleep", "30"])
    kind, message = failure(stage, "docker.deploy", **stage.deployment(image, timeout=2))
    assert kind == "DeadlineExceeded"
    assert image in message


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("docker.start", GONE),
        ("docker.stop", GONE),
        ("docker.restart", GONE),
        ("docker.logs", GONE),
        ("docker.connect", {**GONE, "network": "further"}),
    ],
)
def test_no_such_container(stage, task, arguments):
    kind, message = failure(stage, task, **arguments)
    assert kind == "ContainerNotFound"
    assert GONE["container"] in message


@pytest.mark.parametrize("task", ["docker.start", "docker.stop", "docker.restart", "docker.remove", "docker.logs"])
def test_a_container_that_is_not_managed_is_left_alone(stage, task):
    stage.ask("docker.pull", image=stage.image("shop:v1"))
    name = f"unmanaged-{uuid.uuid4().hex[:8]}"
    labels = {"docker-watcher.project": "p", "docker-watcher.stage": "s", "docker-watcher.namespace": "other"}
    theirs = stage.engine.create_container(stage.image("shop:v1"), name=name, labels=labels)["Id"]
    try:
        kind, message = failure(stage, task, container=theirs[:12])
        assert kind == "NotManaged"
        assert theirs[:12] in message
        assert stage.engine.inspect_container(theirs)["State"]["Status"] == "created"
    finally:
        stage.engine.remove_container(theirs)


def test_what_does_not_start_says_why(stage, images):
    image = images("unstartable", "v1", command=["/no/such/program"])
    stage.ask("docker.pull", image=image)
    made = stage.ask("docker.create", **stage.deployment(image, init=False))
    error = stage.send("docker.start", container=made["container_id"]).get(timeout=30, propagate=False)
    stage.ask("docker.remove", container=made["container_id"])
    assert type(error).__name__ == "StartFailed"
    assert made["name"] in error.args[0]
    assert error.args[1].keys() >= {"exit_code", "oom_killed", "logs"}


def test_an_operation_is_tried_again_too(stage):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        image = f"127.0.0.1:{closed.getsockname()[1]}/acme/shop:v1"
        sent = stage.send("docker.pull", image=image)
        stage.until(lambda: sent.state == "RETRY")
        error = sent.get(timeout=60, propagate=False)
    assert type(error).__name__ == "RegistryUnavailable"
    assert image in error.args[0]


def test_no_such_image_on_the_engine(stage):
    for task, arguments in (
        ("docker.inspect", {"image": "acme/nothing:v1"}),
        ("docker.create", stage.deployment("acme/nothing:v1")),
    ):
        kind, message = failure(stage, task, **arguments)
        assert kind == "ImageNotFound"
        assert "acme/nothing:v1" in message


def test_no_such_network(stage):
    with_container = stage.ask("docker.create", **stage.deployment("shop:v1"))["container_id"]
    kind, message = failure(stage, "docker.connect", network="nowhere", container=with_container)
    stage.ask("docker.remove", container=with_container, force=True)
    assert kind == "NetworkNotFound"
    assert "nowhere" in message
