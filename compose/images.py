"""What runs compose.yaml where no registry can be reached: a base for all its images, made here, and Compose itself.

`python -m compose.images` makes and fetches what is missing, as long as there is a way to where packages are. It takes
minutes at the first time, so tests begin meanwhile; what needs it waits for `being_made` to end.
"""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from compose import engine, packages, release
from compose.errors import UnavailableError
from compose.process import REPO
from compose.state import ROOT

FOLDER = ROOT / "images"
BASE = FOLDER / "rootfs.tar"
WHEELS = FOLDER / "wheels"
#: What the worker's image is made of, besides its base and the wheels.
SOURCES = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "compose/Dockerfile",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "tasks",
    "worker",
)


def compose() -> Path:
    """Compose 2, which runs by itself as it does as `docker compose`; fetched if need be."""
    return release.tool(ROOT / "docker-compose", "docker-compose", "usr/libexec/docker/cli-plugins/docker-compose")


@contextlib.contextmanager
def being_made() -> Iterator[None]:
    """Wait until nobody else makes them, and keep others from it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare() -> None:
    """Make the base, fetch wheels and Compose, where they are missing."""
    with being_made():
        packages.ensure(["debootstrap"])
        if subprocess.run([REPO / "compose/base.sh"], check=False).returncode:
            raise UnavailableError("The base of the images could not be made: what failed is said above.")
        compose()


def main() -> None:
    """Prepare where a private engine will be started: nothing else runs compose.yaml in tests."""
    if packages.can_install() and os.environ.get("ENGINE") != engine.PODMAN and engine.given() is None:
        prepare()


if __name__ == "__main__":
    main()
