"""Daemons: started with a log in the run's folder, waited for, stopped by pid; what a run left running."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from compose.errors import UnavailableError

#: Carried by every process of a run. It is how we know ours, also after a kill -9 that left no one to ask.
MARK = "DW_SERVICES_STATE"

#: Where this package is.
REPO = Path(__file__).resolve().parent.parent

TAIL_LINES = 12


class Daemon:
    """One background program of a run."""

    def __init__(self, name: str, argv: list[str], state: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.argv = argv
        self.log = state / f"{name}.log"
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {}), MARK: str(state)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, stdin: int = subprocess.DEVNULL) -> None:
        """Start it in a session of its own: a Ctrl-C in the terminal is for the command only."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                tied_to_us(self.argv),
                stdin=stdin,
                cwd=REPO,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool], seconds: float) -> None:
        """Wait until it answers; raise with the end of its log when it dies or takes longer."""
        deadline = time.monotonic() + seconds
        while not answers():
            if self.process is None or self.process.poll() is not None:
                raise UnavailableError(f"{self.name} ended at once; the end of {self.log}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.name} does not answer after {seconds:.0f} s; the end of {self.log}:\n{self.tail()}"
                )
            time.sleep(0.05)

    def stop(self, seconds: float = 20) -> None:
        """Ask it to end, and make it end when it doesn't."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self) -> str:
        """The end of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])


def tied_to_us(argv: list[str]) -> list[str]:
    """The same command, ended by the kernel when we are killed (where util-linux is installed)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *argv] if setpriv else argv


def members(state: Path) -> Iterator[int]:
    """Pids of the processes that belong to the run in this folder, ourselves excepted."""
    mark = f"{MARK}={state}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended, or is someone else's
            continue
        if mark in environment and int(entry.name) != os.getpid():
            yield int(entry.name)


def end_members(state: Path, seconds: float = 10) -> int:
    """End all that still runs for this folder; return how many there were."""
    found = set(members(state))
    for sent in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + seconds
        remaining = set(members(state))
        for pid in remaining:
            _signal(pid, sent)
        while remaining and time.monotonic() < deadline:
            reap()
            time.sleep(0.05)
            remaining = set(members(state))
    return len(found)


def reap() -> None:
    """Collect the exit statuses of adopted orphans."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
