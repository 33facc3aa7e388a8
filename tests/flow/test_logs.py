"""What a worker logs as JSON, line by line, whatever becomes of deployments."""

import json
import os
import subprocess
import sys

import pytest

from tests.flow.conftest import Stage, served_through, until

HELD_UP = ["/bin/busybox", "sleep", "60"]


@pytest.fixture(scope="module")
def told(engine_proxy, second_redis_url, installation, engine, images, tmp_path_factory):
    """The lines of a worker, and the ids of a deployment that has succeeded, failed, been retried, been cancelled."""
    images("dying", "logged", command=["/bin/busybox", "false"])
    images("held", "logged", healthcheck=HELD_UP, health_seconds=90)
    folder, ids = tmp_path_factory.mktemp("logs"), {}
    environment = {"DW_LOG_FORMAT": "json", "DW_HOST": "north"}
    with served_through(engine_proxy, second_redis_url, folder, installation, **environment) as (another, client):
        stage = Stage(client, engine, another)

        def deploy(called, image, **arguments):
            headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            sent = client.send_task("docker.deploy", kwargs=stage.deployment(image, **arguments), headers=headers)
            ids[called] = sent.id
            return sent

        deploy("live", "shop:v1").get(timeout=60)
        deploy("failed", "dying:logged").get(timeout=60, propagate=False)
        engine_proxy.once = ("POST /containers/create", "500")
        deploy("retried", "shop:v2").get(timeout=60)
        deploy("wrong", "shop:v2", keep=0).get(timeout=60, propagate=False)
        held = deploy("cancelled", "held:logged")
        until(lambda: stage.record(held.id).get("step") == "prove")
        stage.ask("docker.cancel", deployment_id=held.id)
        held.get(timeout=60, propagate=False)
        stage.clear()
    (log,) = (path.read_text() for path in folder.iterdir())
    return log.splitlines(), ids, stage


@pytest.fixture(scope="module")
def lines(told):
    """All of them: there is nothing but JSON, from the start to what Celery says within its signal's handler."""
    *lines, empty, end = told[0]
    assert (empty, end) == ("", "worker: Warm shutdown (MainProcess)")
    return [json.loads(line) for line in lines]


def of(told, lines, called):
    """The lines of a deployment."""
    return [line for line in lines if line.get("deployment") == told[1][called]]


def test_each_line_has_what_machines_look_for(lines):
    for line in lines:
        assert {"event", "level", "logger", "timestamp", "host"} <= line.keys()
        assert line["host"] == "north"


@pytest.mark.parametrize("called", ["live", "failed", "retried", "cancelled"])
def test_all_lines_of_a_deployment_are_found_by_its_id_project_or_stage(told, lines, called):
    found = of(told, lines, called)
    stage = told[2]
    assert {"accepted", "step_done", "deployment_ended"} <= {line["event"] for line in found}
    for line in found:
        # Whoever has only received a message, cancels or finds nothing to do has not read the record.
        knows_id_alone = line["event"].endswith("received") or line["task"] == "docker.cancel"
        if not knows_id_alone and "nothing due" not in line["event"]:
            assert (line["project"], line["stage"]) == (stage.project, stage.name), line
    for line in found:
        if line["event"].startswith("step_"):
            assert (line["step"], line["attempt"] >= 1) == (line["step"], True)
            assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    # Of nothing but its id is spoken elsewhere.
    elsewhere = [line for line in lines if told[1][called] in json.dumps(line) and line not in found]
    assert all("docker.cancel" in line.get("task", "") for line in elsewhere), elsewhere


def test_failures_retries_and_cancels_are_told_with_their_sentence(told, lines):
    (failed,) = (line for line in of(told, lines, "failed") if line["event"] == "step_failed")
    assert (failed["step"], failed["level"]) == ("prove", "warning")
    assert "failed" in failed["error"]
    (retried,) = (line for line in of(told, lines, "retried") if line["event"] == "step_retried")
    assert (retried["step"], retried["attempt"]) == ("create", 1)
    (again,) = (
        line for line in of(told, lines, "retried") if line["event"] == "step_done" and line["step"] == "create"
    )
    assert again["attempt"] == 2
    (cancelled,) = (line for line in of(told, lines, "cancelled") if line["event"] == "step_failed")
    assert "cancelled" in cancelled["error"]
    assert any("SpecInvalid" in line["event"] for line in of(told, lines, "wrong"))


def test_celerys_own_lines_say_which_task_it_is(lines):
    own = [line for line in lines if line["logger"] in {"celery.app.trace", "celery.worker.strategy"}]
    assert own
    assert all(line["task"].startswith("docker.") and line["id"] in line["event"] for line in own)


def test_lines_of_one_task_are_not_taken_for_another_ones(lines):
    for line in lines:
        if line.get("task") == "docker.reconcile":
            assert "deployment" not in line


def test_tracebacks_and_warnings_are_json_too():
    script = (
        "import threading, warnings; from worker import log; log.configure('json', host='north')\n"
        "warnings.warn('careful', stacklevel=1)\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='divides'); thread.start(); thread.join()\n"
        "raise RuntimeError('at last')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
    warned, divided, raised = (json.loads(line) for line in ended.stderr.splitlines())
    assert "careful" in warned["event"]
    assert (divided["event"], divided["level"], divided["thread"]) == ("uncaught", "critical", "divides")
    assert "ZeroDivisionError" in divided["exception"]
    assert "RuntimeError: at last" in raised["exception"]
    assert ended.returncode == 1
