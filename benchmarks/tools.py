"""The tools that deployments are compared with, fetched before there are services: those may have no way out.

    python -m benchmarks.tools

Debian's Compose v2 from the next release, where there is no `docker-compose`; Ansible from PyPI, in a venv of its own.
Neither is part of docker-watcher or its locked requirements. What can't be had is said here, and left out there.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import say
from compose import release
from compose.errors import UnavailableError
from compose.process import REPO

_FOLDER = REPO / ".state" / "tools"
ANSIBLE = _FOLDER / "ansible" / "bin" / "ansible"
_IN_PACKAGE = "usr/libexec/docker/cli-plugins/docker-compose"


def compose() -> Path | None:
    """Compose's program, where there is one."""
    own = shutil.which("docker-compose")
    fetched = _FOLDER / "docker-compose" / _IN_PACKAGE
    return Path(own) if own else fetched if fetched.exists() else None


def main() -> None:
    """Fetch what is missing."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    if compose() is None:
        try:
            release.tool(_FOLDER / "docker-compose", "docker-compose", _IN_PACKAGE)
        except UnavailableError as error:
            say(f"Compose can't be had, and is not compared with: {error}")
    if not ANSIBLE.exists():
        say("tools     installing ansible from PyPI, for the comparison with it")
        python = ANSIBLE.with_name("python")
        for command in (
            (sys.executable, "-m", "venv", str(ANSIBLE.parents[1])),
            (str(python), "-m", "pip", "install", "--quiet", "ansible", "docker"),
        ):
            if subprocess.run(command, check=False).returncode:
                say("Ansible can't be had, and is not compared with")
                return


if __name__ == "__main__":
    main()
