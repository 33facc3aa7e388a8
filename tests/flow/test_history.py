"""`dw history`: what became of a stage's deployments, for people and for machines."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def ended(stage, images):
    """Two that were live, the second of them is, one that is unchanged, one that failed, one rolled back to."""
    first = stage.deploy("shop:v1")
    second = stage.deploy("shop:v2")
    same = stage.deploy("shop:v2")
    broken = stage.send("docker.deploy", **stage.deployment(broken_image(images)))
    broken.get(timeout=60, propagate=False)
    back = stage.ask("docker.rollback", project=stage.project, stage=stage.name)
    stage.until(lambda: stage.record(back["deployment_id"])["step"] == "ended")
    return [back["deployment_id"], broken.id, *(each["deployment_id"] for each in (same, second, first))]


def broken_image(images):
    return images("broken", "told", command=["/bin/busybox", "sh", "-c", "echo '[no] config'; exit 3"])


def history(stage):
    told = stage.installation.dw("history", f"{stage.project}/staging", "--json")
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)["deployments"]


def test_machines_are_told_all_of_it(stage, ended):
    told = history(stage)
    assert [each["deployment_id"] for each in told] == ended
    assert [each["state"] for each in told] == ["live", "failed", "unchanged", "replaced", "replaced"]
    back, broken, same, second, first = told
    assert (back["rollback_to"], back["digest"], back["image_id"]) == (ended[4], first["digest"], first["image_id"])
    assert back["image"] == f"{first['image']}@{first['digest']}"
    assert back["began"] <= back["ended"]
    assert 0 < sum(back["seconds"].values()) <= back["took"] + 1
    assert set(first["seconds"]) == {"pull", "inspect", "create", "start", "prove", "promote"}
    assert (broken["error"]["type"], broken["error"]["facts"]["exit_code"]) == ("StartFailed", 3)
    assert set(same["seconds"]) == {"pull", "inspect", "create"}
    assert second["error"] is None
    assert {tuple(each) for each in told} == {tuple(first)}


def test_who_is_under_way_who_waits_and_who_was_superseded_by_whom(stage, images):
    slow = images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    running = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 60}))
    stage.until(lambda: stage.record(running.id).get("step") == "prove")
    between = stage.send("docker.deploy", **stage.deployment("shop:v1"))
    stage.until(lambda: stage.record(between.id).get("step") == "expire")
    waiting = stage.send("docker.deploy", **stage.deployment("shop:v2"))
    between.get(timeout=30, propagate=False)
    stage.until(lambda: stage.record(between.id)["step"] == "ended")
    told = history(stage)
    assert [(each["deployment_id"], each["state"], each["superseded_by"]) for each in told] == [
        (waiting.id, "waiting", None),
        (between.id, "superseded", waiting.id),
        (running.id, "running", None),
    ]
    text = stage.installation.dw("history", f"{stage.project}/staging").stdout
    assert f"by {waiting.id}" in text
    assert "at step prove" in text
    for each in (waiting, running):
        stage.ask("docker.cancel", deployment_id=each.id)
        each.get(timeout=30, propagate=False)
        stage.until(lambda each=each: stage.record(each.id)["step"] == "ended")
    assert [each["state"] for each in history(stage)] == ["cancelled", "superseded", "cancelled"]
    assert "cancelled in step prove" in stage.installation.dw("history", f"{stage.project}/staging").stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_people_are_told_on_the_width_they_have(stage, ended, columns):
    text = in_terminal(stage, columns)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    # An id is in one piece: it is there to be copied.
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["DEPLOYMENT", *ended]
    assert text.count("live now") == 1
    assert "failed in step prove" in text
    assert "exit code 3" in " ".join(text.split())


def test_a_pipe_has_whole_lines(stage, ended):
    text = stage.installation.dw("history", f"{stage.project}/staging").stdout
    assert "StartFailed: " in text
    assert "[no] config" in next(line for line in text.splitlines() if "StartFailed: " in line)
    assert f"rollback to {ended[4]}" in text
    assert f"{stage.image('shop:v2')} (" in text


def test_orders_to_the_stage_are_told_as_well(stage):
    stage.deploy("shop:v1")
    assert stage.installation.dw("stop", f"{stage.project}/staging").returncode == 0
    stage.until(lambda: [each["state"] for each in history(stage)] == ["done", "live"])
    assert [(each["action"], each["image"] is None) for each in history(stage)] == [("stop", True), ("deploy", False)]
    assert "order to stop: done" in stage.installation.dw("history", f"{stage.project}/staging").stdout


def test_an_unheard_of_stage_has_none_and_a_wrong_one_is_refused(stage):
    assert history(stage) == []
    assert stage.installation.dw("history", "my shop/live").returncode == 1


def in_terminal(stage, columns):
    """What `dw history` writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**stage.installation.environment, "COLUMNS": str(columns), "TERM": "dumb"}
    command = [Path(sys.executable).with_name("dw"), "history", f"{stage.project}/staging"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        try:
            while some := os.read(ours, 65536):
                written += some
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")
