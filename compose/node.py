"""Node and what the example producer needs of npm, for the tests that run it."""

import shutil
import subprocess
import sys
from pathlib import Path

from compose import packages
from compose.errors import UnavailableError

PROGRAMS = ("node", "npm", "curl", "redis-cli")
EXAMPLE = Path("docs/examples/node")
#: Where its packages are: beside them the documentation would have their pages in it.
INSTALLED = Path(".state/node")
_LOCK = "package-lock.json"


def main() -> None:
    """Install the programs, and by them the locked packages, where they are missing and can be had.

    A private engine's services have a network of their own, with no way to where they are.
    """
    try:
        if packages.can_install():
            packages.ensure(PROGRAMS)
        if not packages.missing(PROGRAMS) and not _is_installed():
            _install()
    except UnavailableError as error:
        sys.exit(f"node: {error}")


def _is_installed() -> bool:
    copied = INSTALLED / _LOCK
    return copied.exists() and copied.read_bytes() == (EXAMPLE / _LOCK).read_bytes()


def _install() -> None:
    shutil.rmtree(INSTALLED, ignore_errors=True)
    making = INSTALLED.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for name in ("package.json", _LOCK):
        shutil.copy(EXAMPLE / name, making)
    command = ["npm", "ci", "--prefix", str(making), "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"npm could not install what {EXAMPLE} needs:\n{done.stderr.strip()}")
    making.rename(INSTALLED)


if __name__ == "__main__":
    main()
