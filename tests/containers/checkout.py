"""An installation as a new user makes it, from a copy of the repository, and what Compose does with it."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from compose import images
from compose.ports import free_port
from compose.process import REPO
from tests.services import required

#: There is no way out, so nothing may be asked for.
OFFLINE = """\
x-build: &build
  network: none
  args: {PIP_NO_INDEX: "1", PIP_FIND_LINKS: /build/wheels}
services:
  worker: {build: *build}
  secrets: {build: *build}
"""
PATIENCE = 240


@dataclass
class Checkout:
    """A copy of the repository, whose `compose/.env` is as `.env.example` but for what is given."""

    folder: Path
    project: str
    base: str
    image: str
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        # Not what an installation here has made.
        ignored = shutil.ignore_patterns("secrets", "__pycache__")
        shutil.copytree(REPO / "compose", self.folder / "compose", ignore=ignored)
        for name in images.SOURCES:
            copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
            copy(REPO / name, self.folder / name)
        shutil.copytree(images.WHEELS, self.folder / "wheels")
        self.here = self.folder / "compose"
        (self.here / "offline.yaml").write_text(OFFLINE)
        self.ports = {name: free_port() for name in ("REDIS", "FLOWER", "PROMETHEUS")}
        self.configure()

    def configure(self):
        socket = Path(required("DOCKER_HOST").removeprefix("unix://"))
        settings = {
            "ENGINE_GID": socket.stat().st_gid,
            "ENGINE_SOCKET": socket,
            "WORKER_IMAGE": self.image,
            **{f"{name}_IMAGE": self.base for name in ("PYTHON", "REDIS", "NGINX", "PROMETHEUS")},
            **{f"PUBLISH_{name}": f"127.0.0.1:{port}" for name, port in self.ports.items()},
            **self.settings,
        }
        given = "".join(f"{name}={value}\n" for name, value in settings.items())
        example = (self.here / ".env.example").read_text()
        unknown = [name for name in settings if not re.search(rf"^#?{name}=", example, re.MULTILINE)]
        assert [name for name in unknown if not name.startswith("DW_")] == []
        (self.here / ".env").write_text(f"{example}\n{given}")

    def compose(self, *arguments, check=True, **options):
        """What `docker compose` with these arguments says."""
        environment = {
            "PATH": os.environ["PATH"],
            "DOCKER_HOST": required("DOCKER_HOST"),
            "DOCKER_CONFIG": str(self.folder / "docker"),
            # The newer builder is a plugin of its own.
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": "compose.yaml:offline.yaml",
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        if "input" not in options:
            pipes.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [images.compose(), *arguments],
            cwd=self.here,
            env=environment,
            text=True,
            timeout=PATIENCE,
            check=False,
            **pipes,
        )
        assert done.returncode == 0 or not check, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def dw(self, *arguments, **options):
        return self.compose("exec", "-T", "worker", "dw", *arguments, **options)

    def health(self):
        """Each service's."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {each["Service"]: each["Health"] for each in map(json.loads, lines)}

    def address(self, user):
        """That of Redis, for those on this host."""
        password = (self.here / f"secrets/redis-{user}").read_text()
        return f"redis://{user}:{password}@127.0.0.1:{self.ports['REDIS']}/0"
