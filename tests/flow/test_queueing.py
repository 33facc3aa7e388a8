"""One deployment of a stage at a time; the newest wins."""

import pytest


@pytest.fixture
def slow(stage, images):
    """An image that takes three seconds to be proven."""
    return images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)


def test_the_newest_waits_for_the_running_one_and_the_ones_between_are_superseded(stage, slow):
    first = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 3}))
    stage.until(lambda: stage.record(first.id).get("step") == "prove")
    between = stage.send("docker.deploy", **stage.deployment("shop:v1"))
    stage.until(lambda: stage.record(between.id).get("step") == "expire")
    last = stage.send("docker.deploy", **stage.deployment("shop:v2"))

    superseded = between.get(timeout=30, propagate=False)
    assert type(superseded).__name__ == "DeploymentSuperseded"
    assert superseded.args[1]["by"] == last.id
    assert first.get(timeout=30)["state"] == "live"
    assert last.get(timeout=30)["replaced"] == [first.get()["container_id"]]
    assert [each["Id"] for each in stage.containers()] == [last.get()["container_id"]]


def test_one_that_waits_too_long_for_its_stage_is_told_so(stage, slow):
    first = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 6}))
    stage.until(lambda: stage.record(first.id).get("step") == "prove")
    second = stage.send("docker.deploy", **stage.deployment("shop:v1", timeout=1))
    late = second.get(timeout=30, propagate=False)
    assert type(late).__name__ == "DeadlineExceeded"
    assert first.get(timeout=30)["state"] == "live"
