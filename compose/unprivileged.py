"""A command as a user that owns nothing and can get no more rights: `python -m compose.unprivileged -- COMMAND`.

Python and this folder may be where only root can go, as /root is. For that command, in a view of the machine that
nobody else has, the way to them is open.

`--groups 998,997 --` has it in these groups besides its own.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from compose import isolation
from compose.process import REPO

#: A user and group that own nothing, and need not have a name.
USER = 10_001
MS_BIND = 1 << 12
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
OTHERS_MAY_PASS = 0o001


def command(argv: Sequence[str], groups: Sequence[int] = ()) -> list[str]:
    """The command line that runs this one so."""
    joined = ",".join(str(group) for group in groups)
    return [sys.executable, "-m", "compose.unprivileged", *(["--groups", joined] if joined else []), "--", *argv]


def main() -> None:
    """Open the way, give up all rights, become the command."""
    given, argv = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    isolation.isolate_mounts()
    _reveal(Path(sys.base_prefix), REPO)
    os.setgroups([int(group) for group in given[1].split(",")] if given else [])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.chdir(REPO)
    os.execvp(argv[0], argv)  # noqa: S606


def _reveal(*paths: Path) -> None:
    """Where others may not pass on the way to folders, put one that they may, with just these folders' content."""
    handles = {path: os.open(path, os.O_PATH) for path in paths if _closed(path)}
    for closed in {_closed(path) or path for path in handles}:
        isolation.mount("tmpfs", closed, "tmpfs", 0, "mode=755")
    for path, handle in handles.items():
        path.mkdir(parents=True, exist_ok=True)
        for entry in Path(f"/proc/self/fd/{handle}").iterdir():
            there = path / entry.name
            there.mkdir() if entry.is_dir() else there.touch()
            isolation.mount(str(entry), there, None, MS_BIND, None)
        os.close(handle)


def _closed(path: Path) -> Path | None:
    """The first folder on the way that is closed to others."""
    return next((each for each in (*reversed(path.parents), path) if not each.stat().st_mode & OTHERS_MAY_PASS), None)


if __name__ == "__main__":
    main()
