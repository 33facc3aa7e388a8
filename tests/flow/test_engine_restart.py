"""An engine that is killed in the middle of a deployment."""

import contextlib
import json
import time
from dataclasses import replace

import docker
import pytest

from tests.chaos.victims import Engine
from tests.flow.conftest import page

pytestmark = pytest.mark.needs_private_engine


@pytest.fixture
def victim(tmp_path):
    victim = Engine(tmp_path)
    victim.start()
    yield victim
    victim.stop()


def test_an_engine_that_was_killed_is_listened_to_again(unserved_stage, victim, images, record_property):
    image = images("late", "v1", healthcheck=["/bin/busybox", "sleep", "6"], health_seconds=20)
    unserved_stage.installation.add_credential()
    with contextlib.closing(docker.APIClient(victim.host, version="auto")) as engine:
        stage = replace(unserved_stage, engine=engine)
        with stage.installation.worker(stage.client, DOCKER_HOST=victim.host):
            sent = stage.send("docker.deploy", **stage.deployment(image, policy="missing"))
            stage.until(lambda: stage.record(sent.id).get("step") == "prove")
            victim.die_for(1)
            result = sent.get(timeout=90)
            assert result["health"] == "healthy"
            (left,) = stage.containers()
            assert left["Id"] == result["container_id"]
            # Had nobody listened, this would have been seen 3 seconds later.
            events = engine.events(since=0, until=time.time() + 1, filters={"container": left["Id"]}, decode=True)
            at = {each["Action"]: each["timeNano"] / 1e9 for each in events}
            latency = at["update"] - at["health_status: healthy"]
            record_property("figure", f"proof after the engine's death: {latency * 1000:.0f} ms after the event")
            assert latency < 2.5
            engine.remove_container(left["Id"], force=True)


def test_an_old_version_that_the_engine_was_killed_at_while_it_started_it_serves_again(
    unserved_stage, victim, images, record_property
):
    shop = images("shop", "unchecked", page="the old one", healthcheck=None)
    broken = images("broken", "at-once", healthcheck=None, command=["/bin/busybox", "sh", "-c", "exit 3"])
    unserved_stage.installation.add_credential()
    with contextlib.closing(docker.APIClient(victim.host, version="auto")) as engine:
        stage = replace(unserved_stage, engine=engine)
        with stage.installation.worker(stage.client, DOCKER_HOST=victim.host):
            old = stage.deploy(shop)
            # There as long as containerd has the container in hand: its end and its next start are to be seen.
            tasks = victim.folder / "x" / "containerd" / "daemon" / "io.containerd.runtime.v2.task" / "moby"
            task = tasks / old["container_id"]
            assert task.exists()
            sent = stage.send("docker.deploy", **stage.deployment(broken, strategy="stop-first"))
            stage.until(lambda: not task.exists())
            stage.until(task.exists)
            victim.die_for(0)
            error = sent.get(timeout=90, propagate=False)
            assert type(error).__name__ == "StartFailed"
            stage.until(lambda: stage.record(sent.id)["step"] == "ended")
            (left,) = [engine.inspect_container(each["Id"]) for each in stage.containers()]
            was_made_anew = left["Id"] != old["container_id"]
            record_property("figure", f"an old version whose start the engine died at: made anew {was_made_anew}")
            assert (left["Name"], left["State"]["Status"]) == (f"/{old['container_name']}", "running")
            assert json.loads(stage.record(old["deployment_id"])["found"])["container_id"] == left["Id"]
            assert left["HostConfig"]["RestartPolicy"]["Name"] == "always"
            ports = {"8080/tcp": int(left["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])}
            assert page({"ports": ports}) == "the old one"
            engine.remove_container(left["Id"], force=True)
