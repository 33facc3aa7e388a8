"""The programs of docs/producers.md, run as they are there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
_NODE_PACKAGES = ROOT / ".state" / "node" / "node_modules"


def producer(name, folder):
    """The command of one, which takes project, stage, image and credential."""
    if name.endswith(".py"):
        return [sys.executable, EXAMPLES / name]
    if name.endswith(".sh"):
        return ["sh", EXAMPLES / name]
    _need("node")
    if not _NODE_PACKAGES.exists():
        pytest.fail("npm's packages are not installed: run `python -m compose.node`, or install it", pytrace=False)
    # Node looks for packages beside the program itself, and docs/ is to have none.
    copy = folder / "node"
    shutil.copytree(EXAMPLES / "node", copy, dirs_exist_ok=True)
    if not (copy / "node_modules").exists():
        (copy / "node_modules").symlink_to(_NODE_PACKAGES)
    return ["node", copy / name]


def run(name, folder, *arguments, **environment):
    """Run one to its end."""
    for program in {"redis.sh": ("redis-cli",), "flower.sh": ("curl",)}.get(name, ()):
        _need(program)
    return subprocess.run(
        [*producer(name, folder), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _need(program):
    if shutil.which(program) is None:
        pytest.fail(f"{program} is not installed: run `python -m compose.node`, or install it", pytrace=False)
