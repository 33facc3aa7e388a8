"""An engine that is killed while a container is proven: the worker goes on, and listens to it again."""

import contextlib
import time
from dataclasses import replace

import docker
import pytest

from tests.chaos.victims import Engine

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
