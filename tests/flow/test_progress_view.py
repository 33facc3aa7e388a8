"""What `dw` shows while it waits: in terminals of all kinds, in pipes and in files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compose.demo.terminal import terminal
from tests.throttled_registry import ThrottledRegistry

DW = str(Path(sys.executable).with_name("dw"))
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7]m")


@pytest.fixture(scope="module")
def registry():
    with ThrottledRegistry(rate=2_000_000) as made:
        yield made
        made.close()


@pytest.fixture
def pulling(stage, installation, registry):
    """A deployment that pulls without end, seen in a terminal; it is cancelled once it has been seen."""
    command = [DW, "deploy", f"{stage.project}/staging", registry.image, "--cancel-on-interrupt"]

    def run(columns=100, **changed):
        return terminal(command, {**installation.environment, **changed}, columns, 24)

    return run


def interrupted(shown):
    shown.type("\x03")
    assert shown.end(60) == 130
    assert "is cancelled" in " ".join(shown.lines)


def test_bytes_and_rates_of_each_layer_are_seen_and_time_goes_on(pulling):
    with pulling() as shown:
        (line,) = shown.see(lambda lines: [each for each in lines if "pull" in each and "MB/s" in each])
        assert re.search(r"pull \d+\.\d of 1000\.0 MB \d\.\d MB/s", line)
        (layer,) = shown.see(lambda lines: [each for each in lines if "downloading" in each and "MB/s" in each])
        assert re.match(r"\s+[0-9a-f]{12} downloading .* of 1000\.0 MB", layer)
        shown.see(lambda lines: re.search(r" [2-9] s$", lines[0]))
        assert COLOUR.search(shown.raw)
        shown.resize(60, 20)
        shown.see(lambda lines: any("downloading" in each for each in lines))
        interrupted(shown)


def test_a_terminal_of_forty_columns_shows_the_same(pulling):
    with pulling(columns=40, NO_COLOR="1") as shown:
        shown.see(lambda lines: [each for each in lines if "pull" in each and "MB" in each])
        shown.see(lambda lines: any(re.match(r"\s+[0-9a-f]{6} \d+\.\d/1000\.0 MB \d\.\d MB/s", each) for each in lines))
        assert not COLOUR.search(shown.raw)
        interrupted(shown)


def test_a_dumb_terminal_gets_lines(pulling):
    with pulling(TERM="dumb") as shown:
        shown.see(lambda lines: "pull" in lines)
        interrupted(shown)
        assert b"\x1b" not in shown.raw


def test_steps_are_ticked_off(stage, installation, images):
    image = images("sleepy-start", "v1", healthcheck=["/bin/busybox", "sleep", "2"])
    command = [DW, "deploy", f"{stage.project}/staging", image]
    with terminal(command, installation.environment) as shown:
        lines = shown.see(lambda lines: any("waits until it is healthy" in each for each in lines) and lines)
        assert f"{stage.project}/staging" in lines[0]
        assert next(each.split()[:2] for each in lines if "✓" in each) == ["✓", "pull"]
        assert shown.end() == 0
        # What was drawn is gone, and the result stands alone.
        assert "✓" not in "".join(shown.lines)
        assert "is live" in shown.lines[0] + shown.lines[1]


def test_a_terminal_that_knows_only_ascii(stage, installation):
    command = [DW, "deploy", f"{stage.project}/staging", stage.image("shop:v1")]
    with terminal(command, {**installation.environment, "PYTHONIOENCODING": "ascii"}) as shown:
        assert shown.end() == 0
        assert "Traceback" not in "".join(shown.lines)
        shown.raw.decode("ascii")


@pytest.mark.parametrize("changed", [{}, {"FORCE_COLOR": "1"}, {"CLICOLOR_FORCE": "1"}, {"NO_COLOR": "1"}])
def test_what_goes_to_a_file_is_lines(stage, installation, tmp_path, changed):
    written = tmp_path / "log"
    with written.open("wb") as file:
        subprocess.run(
            [DW, "deploy", f"{stage.project}/staging", stage.image("shop:v9")],
            stderr=file,
            env={**{k: v for k, v in installation.environment.items() if k != "NO_COLOR"}, **changed},
            check=False,
        )
    text = written.read_bytes()
    assert b"\r" not in text
    assert b"\x1b[?25" not in text
    assert bool(COLOUR.search(text)) is bool({"FORCE_COLOR", "CLICOLOR_FORCE"} & changed.keys())
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()
    # A step that ends at once may be seen by nobody.
    *steps, sentence, hint = lines
    assert set(steps) <= {"accept", "pull"}
    assert sentence.startswith("ImageNotFound")
    assert hint.startswith("-> ")


def test_what_is_not_waited_for_is_sent_and_its_id_told(stage, installation):
    where = f"{stage.project}/staging"
    sent = installation.dw("deploy", where, stage.image("shop:v1"), "--no-wait")
    assert sent.returncode == 0
    deployment = sent.stdout.split()[1].rstrip(";")
    assert stage.client.AsyncResult(deployment).get(timeout=60)["state"] == "live"
    stopped = installation.dw("stop", where, "--no-wait", "--json")
    assert '"state": "sent"' in stopped.stdout
    stage.until(lambda: {each["State"] for each in stage.containers()} == {"exited"})
