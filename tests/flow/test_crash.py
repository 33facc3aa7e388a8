"""A killed worker costs a lease, and nothing else."""

import uuid

import pytest
from celery import Celery

from tests.flow.conftest import Installation, Stage


@pytest.fixture
def stage(second_redis_url, tmp_path, engine, images, installation):
    """A stage of an installation that no worker serves yet."""
    another = Installation(second_redis_url, tmp_path, namespace=installation.namespace)
    another.environment["DW_KEYS"] = installation.environment["DW_KEYS"]
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    yield Stage(client, engine, another, f"p{uuid.uuid4().hex[:8]}")
    client.close()


def test_another_worker_goes_on_with_what_a_killed_one_had_made(stage, images):
    image = images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    arguments = stage.deployment(image, policy="missing", health={"stable": 4})
    with stage.installation.worker(stage.client) as doomed:
        sent = stage.send("docker.deploy", **arguments)
        stage.until(lambda: stage.record(sent.id).get("step") == "prove")
        (made,) = stage.containers()
        doomed.kill()
        doomed.wait()
    with stage.installation.worker(stage.client):
        result = sent.get(timeout=40)
    assert result["container_id"] == made["Id"]
    assert len(stage.containers()) == 1


def test_a_deployment_whose_image_fails_is_undone_by_another_worker(stage, images):
    image = images("broken", "later", command=["/bin/busybox", "sh", "-c", "sleep 3; exit 3"], healthcheck=None)
    with stage.installation.worker(stage.client) as doomed:
        sent = stage.send("docker.deploy", **stage.deployment(image, policy="missing", health={"stable": 60}))
        stage.until(lambda: stage.record(sent.id).get("step") == "prove")
        doomed.kill()
        doomed.wait()
    with stage.installation.worker(stage.client):
        error = sent.get(timeout=40, propagate=False)
    assert type(error).__name__ == "StartFailed"
    assert stage.containers() == []
