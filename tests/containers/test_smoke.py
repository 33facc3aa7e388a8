"""The contract's smoke test, with worker and Redis as containers that pytest-celery starts: `smoke.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs_private_engine, pytest.mark.timeout(400)]
PLUGINS = ("pytest_docker_tools.plugin", "pytest_celery.plugin")


def test_the_contracts_smoke_test_passes(base, image, job_images):
    shop = [job_images(f"shop:{number}") for number in (1, 2)]
    environment = {"SMOKE_BASE": base, "SMOKE_IMAGE": image, "SMOKE_IMAGES": " ".join(shop)}
    # What the outer pytest and its processes say to each other is none of its business.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    plugins = [part for plugin in PLUGINS for part in ("-p", plugin)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-p", "no:cacheprovider", Path(__file__).with_name("smoke.py")],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
