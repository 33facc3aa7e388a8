"""What Flower shows: the deployment's end under its id, and each step under a name of its own."""

import json
import socket
import urllib.request

import pytest


@pytest.fixture
def flower(installation, stage):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ask(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    with installation.process(
        "flower", f"--port={port}", "--address=127.0.0.1", FLOWER_UNAUTHENTICATED_API="true"
    ) as process:
        stage.until(lambda: process.poll() is None and ask("/api/workers?refresh=1"))
        yield ask


def test_a_deployment_ends_in_flower_and_its_steps_have_names(stage, flower):
    good = stage.deploy("shop:v1")["deployment_id"]
    bad = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    bad.get(timeout=30, propagate=False)
    stage.until(lambda: (flower(f"/api/task/info/{good}") or {}).get("state") == "SUCCESS")
    told = stage.until(
        lambda: (info := flower(f"/api/task/info/{bad.id}") or {}) and info["state"] == "FAILURE" and info
    )
    assert "ImageNotFound" in told["exception"]
    assert stage.image("shop:v9") in told["exception"]
    steps = {
        each["name"]: each["state"] for each in flower("/api/tasks?limit=1000").values() if each["root_id"] == good
    }
    wanted = ["pull", "inspect", "create", "connect", "start", "prove", "promote", "retire", "report"]
    assert steps.items() >= {f"docker.deploy.{step}": "SUCCESS" for step in wanted}.items()
    assert list(flower("/api/workers")) != []
    assert all(name.endswith("@test") for name in flower("/api/workers"))
