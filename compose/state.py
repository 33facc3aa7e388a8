"""The folder of one run: `.state/1`, or the next number while another run holds that one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.errors import UnavailableError
from compose.process import REPO, end_members

ROOT = REPO / ".state"
SLOTS = 16


@contextmanager
def claimed() -> Iterator[Path]:
    """Hold a folder that no other run uses; end whatever a killed run left running in it."""
    for number in range(1, SLOTS + 1):
        folder = ROOT / str(number)
        lock = _lock(folder)
        if lock is None:
            continue
        try:
            end_members(folder)
            yield folder
        finally:
            os.close(lock)
        return
    raise UnavailableError(f"{ROOT} has no folder free for this run: wait for others, or make it writable.")


def _lock(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:  # a run by another user
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
