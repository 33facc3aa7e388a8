"""Engines that answer at once, in a process of their own (`tests.instant_engine`)."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_STARTS_WITHIN = 20


@contextlib.contextmanager
def engines(number: int = 1) -> Iterator[list[str]]:
    """Run so many engines; gives the `DOCKER_HOST` of each."""
    # Not the services' folder: a socket's path has 107 bytes at the most.
    with tempfile.TemporaryDirectory(prefix="dw-") as name:
        sockets = [Path(name) / f"{each}.sock" for each in range(number)]
        process = subprocess.Popen([sys.executable, "-m", "tests.instant_engine", *map(str, sockets)])
        try:
            give_up_at = time.monotonic() + _STARTS_WITHIN
            while not sockets[-1].exists():
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise RuntimeError("the engines don't answer")
                time.sleep(0.05)
            yield [f"unix://{each}" for each in sockets]
        finally:
            process.terminate()
            process.wait()
