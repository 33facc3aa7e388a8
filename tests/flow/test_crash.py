"""A killed worker costs a lease, and nothing else."""

import pytest


@pytest.fixture
def stage(unserved_stage):
    return unserved_stage


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
