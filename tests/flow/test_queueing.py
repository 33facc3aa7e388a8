"""One deployment of a stage at a time; the newest wins."""

import collections
import threading
import time

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


@pytest.fixture
def shared_stage(unserved_stage):
    """A stage that two workers serve."""
    installation, client = unserved_stage.installation, unserved_stage.client
    with installation.worker(client), installation.worker(client):
        yield unserved_stage


def test_of_fifty_within_a_second_the_last_one_wins(shared_stage, record_property):
    """The threads of two workers accept them in any order; the engine's events tell how many were made at a time."""
    stage = shared_stage
    with Census(stage) as census:
        before = stage.deploy("shop:v1", policy="missing")
        began = time.monotonic()
        asked = [
            stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing", env={"NUMBER": str(number)}))
            for number in range(50)
        ]
        took = time.monotonic() - began
        ended = [each.get(timeout=120, propagate=False) for each in asked]
        stage.until(lambda: {stage.record(each.id)["step"] for each in asked} == {"ended"})
        stage.until(lambda: census.count == 1)
    results = collections.Counter("live" if isinstance(each, dict) else type(each).__name__ for each in ended)
    record_property("figure", f"50 sent in {took:.2f} s: {dict(results)}; at most {census.most} of the stage at a time")
    assert results.keys() <= {"live", "DeploymentSuperseded"}
    assert ended[-1]["state"] == "live"
    (left,) = stage.containers()
    assert left["Id"] == ended[-1]["container_id"]
    assert "NUMBER=49" in stage.engine.inspect_container(left["Id"])["Config"]["Env"]
    assert census.most == 2, "more than the live one and one candidate"
    assert before["container_id"] != left["Id"]


class Census:
    """Counts the containers of a project as the engine makes and destroys them, and the most at a time."""

    def __init__(self, stage):
        self.count = self.most = 0
        label = f"docker-watcher.project={stage.project}"
        filters = {"type": "container", "label": label, "event": ["create", "destroy"]}
        # The past is of no use: engines keep 256 events, of all containers.
        self.events = stage.engine.events(filters=filters, decode=True)
        self.thread = threading.Thread(target=self.take)

    def take(self):
        for event in self.events:
            self.count += {"create": 1, "destroy": -1}[event["Action"]]
            self.most = max(self.most, self.count)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.events.close()
        self.thread.join()
