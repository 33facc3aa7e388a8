"""The benchmarks run, each as small as it can be: what they measure then means nothing."""

import subprocess
import sys

import pytest

from benchmarks.__main__ import BENCHMARKS
from tests.services import required

# Those that need another tool, or a registry's log that only a private one has; and those that take too long.
NOT_HERE = {"others", "pulls", "growth", "memory", "throughput"}


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - NOT_HERE))
def test_each_prints_its_lines(name):
    required("DW_SERVICES_REGISTRY")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| what | against | measured | to reach | reached |" in done.stdout
    assert "ratio" in done.stdout or "more" in done.stdout or "MB" in done.stdout
