"""What Flower shows: the deployment's end under its id, and each step under a name of its own."""

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest


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


@pytest.mark.parametrize(
    ("option", "password", "sentence"),
    [
        ("--address=0.0.0.0", None, "Flower doesn't listen on 0.0.0.0 without a password: set FLOWER_BASIC_AUTH "),
        ("--address=", None, "Flower doesn't listen on all addresses without a password: set FLOWER_BASIC_AUTH "),
        ("--address=127.0.0.1", "", "Flower's passwords are wrong: FLOWER_BASIC_AUTH must be user:password, "),
    ],
)
def test_it_does_not_start_where_anybody_could_get_in(installation, option, password, sentence):
    given = {} if password is None else {"FLOWER_BASIC_AUTH": password}
    command = (sys.executable, "-m", "celery", "-A", "worker", "flower", option)
    ended = installation.run(*command, environment={"FLOWER_UNAUTHENTICATED_API": "true", **given})
    assert ended.returncode == 1
    assert ended.stderr.startswith(sentence)
    assert len(ended.stderr.splitlines()) == 1


def test_without_a_password_it_can_be_looked_at_on_this_machine_and_no_more(installation, stage, worker, free_port):
    def ask(path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{free_port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return None, ""

    with installation.process("flower", f"--port={free_port}"):
        stage.until(lambda: ask("/workers")[0] == 200)
        (name,) = stage.until(lambda: re.findall(r"[0-9a-f]{8}@test", ask("/workers?json=1")[1]))[:1]
        listening = Path("/proc/net/tcp").read_text()
        assert f"0100007F:{free_port:04X}" in listening
        assert f"00000000:{free_port:04X}" not in listening
        page = stage.until(lambda: ask(f"/worker/{name}")[1])
        assert "worker-pool-grow" not in page
        assert ask("/api/workers")[0] == 401
        assert ask(f"/api/worker/shutdown/{name}", method="POST")[0] == 401
    assert worker.poll() is None
