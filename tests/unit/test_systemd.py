"""The units of compose/systemd, by systemd's own judgement."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.settings import Settings

UNITS = sorted((Path(__file__).parents[2] / "compose/systemd").glob("*.service"))
#: systemd counts from 0 (nothing left to lose) to 10; services without any of it have 9.6.
HIGHEST_EXPOSURE = 20


def analyze(*arguments):
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze is missing: `make test` installs it as root on Debian", pytrace=False)
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_it(unit, tmp_path):
    program = Path(sys.executable).with_name("celery")
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/docker-watcher/bin/celery", str(program)))
    told = analyze("verify", str(here))
    assert told.returncode == 0, told.stderr
    assert unit.name not in told.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_it_hardened(unit):
    told = analyze("security", "--offline=true", f"--threshold={HIGHEST_EXPOSURE}", str(unit))
    assert told.returncode == 0, told.stdout


def test_a_worker_may_take_the_time_to_end_that_its_settings_give_it():
    (worker,) = (path.read_text() for path in UNITS if "worker" in path.stem)
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", worker, re.MULTILINE)[1])
    assert stop >= Settings.model_fields["shutdown_seconds"].default + 5
