"""A disk that is full: what only ended deployments used makes room, and where nothing does, the old version serves."""

import contextlib
import re
import urllib.request

import docker
import pytest
from celery import Celery

from tests.flow.conftest import Installation, Stage
from tests.second_engine import on_small_disk

pytestmark = pytest.mark.needs_private_engine

DISK = 56
#: While it is pulled, an image is there twice: as it came, and unpacked.
LARGE = 20_000_000


@pytest.fixture
def stage(worker_id, second_redis_url, tmp_path):
    """A stage on a small disk."""
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    small = Installation(second_redis_url, tmp_path)
    small.add_credential()
    with on_small_disk(worker_id, DISK) as (host, _), contextlib.closing(docker.APIClient(host, version="auto")) as api:
        with small.worker(client, DOCKER_HOST=host, DW_PRUNE_KEEP="2"):
            yield Stage(client, api, small)
        for each in api.containers(all=True):
            api.remove_container(each["Id"], force=True)
    client.close()


def page(result):
    with urllib.request.urlopen(f"http://127.0.0.1:{result['ports']['8080/tcp']}/") as answer:
        return answer.read().decode().strip()


def test_an_old_image_makes_room_and_where_none_is_left_the_old_version_serves(stage, images, record_property):
    """One story, as it takes a disk to itself."""
    large = [images("large", tag, healthcheck=None, layers=[LARGE]) for tag in ("v1", "v2", "v3")]
    oldest = stage.deploy(large[0])
    for tag in ("v1", "v2"):
        stage.deploy(images("tiny", tag, healthcheck=None))

    second = stage.deploy(large[1])
    assert second["state"] == "live"
    assert page(second) == "large v2"
    assert oldest["image_id"] not in {each["Id"] for each in stage.engine.images()}

    sent = stage.send("docker.deploy", **stage.deployment(large[2]))
    error = sent.get(timeout=90, propagate=False)
    assert type(error).__name__ == "DiskFull"
    message, facts = error.args
    record_property("figure", message)
    assert large[2] in message
    assert facts["freed"] < LARGE < facts["images"] < DISK * 1e6
    assert 0 < facts["current"] <= facts["total"]
    assert len(re.findall(r"[0-9]+\.[0-9]", message.partition(" failed: ")[2])) == 4
    assert page(second) == "large v2"
    assert [each["Id"] for each in stage.containers()] == [second["container_id"]]
    # Nor is the step tried again and again, for nothing changes by itself.
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")

    again = stage.send("docker.pull", image=large[2]).get(timeout=90, propagate=False)
    assert type(again).__name__ == "DiskFull"
    assert "MB" in again.args[0]
