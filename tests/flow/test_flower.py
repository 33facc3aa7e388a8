"""What Flower shows: the deployment's end under its id, and each step under a name of its own."""

import json


def test_a_deployment_ends_in_flower_and_its_steps_have_names(stage, flower):
    def info(task_id):
        return json.loads(flower(f"/api/task/info/{task_id}") or "{}")

    good = stage.deploy("shop:v1")["deployment_id"]
    bad = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    bad.get(timeout=30, propagate=False)
    stage.until(lambda: info(good).get("state") == "SUCCESS")
    stage.until(lambda: info(bad.id).get("state") == "FAILURE")
    assert "ImageNotFound" in info(bad.id)["exception"]
    assert stage.image("shop:v9") in info(bad.id)["exception"]

    tasks = json.loads(flower("/api/tasks?limit=1000")).values()
    steps = {each["name"]: each["state"] for each in tasks if each["root_id"] == good}
    wanted = ["pull", "inspect", "create", "start", "prove", "promote", "report"]
    assert steps.items() >= {f"docker.deploy.{step}": "SUCCESS" for step in wanted}.items()
    # The deployment's end is told under the name of the worker that brought it about, not of a phantom.
    assert all(name.endswith("@test") for name in json.loads(flower("/api/workers")))
