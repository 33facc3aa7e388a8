"""The command that the services are for: run with their addresses, told of signals, its status handed on."""

import os
import signal
import subprocess
from collections.abc import Mapping
from types import FrameType

from compose.errors import UnavailableError
from compose.process import tied_to_us

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How long a command may take to end once it was asked to.
PATIENCE = 30


class InterruptedRunError(Exception):
    """A signal came while services were being started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Command:
    """One command, from before its services are there until after it ended."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.process: subprocess.Popen[bytes] | None = None
        for number in SIGNALS:
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGALRM, self._out_of_patience)

    def run(self, env: Mapping[str, str]) -> int:
        """Run it to its end; a status as a shell gives it."""
        try:
            self.process = subprocess.Popen(tied_to_us(self.argv), env=dict(env))
        except OSError as error:
            raise UnavailableError(f"{self.argv[0]} cannot be run: {error.strerror}.") from error
        status = _wait(self.process.pid)
        ignore_signals()
        return status

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self.process is None:
            raise InterruptedRunError(number)
        signal.alarm(PATIENCE)
        if number != signal.SIGINT or not _terminal_told_it():
            self._pass_on(number)

    def _out_of_patience(self, _number: int, _frame: FrameType | None) -> None:
        self._pass_on(signal.SIGKILL)

    def _pass_on(self, number: int) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)


def ignore_signals() -> None:
    """From here on services are being stopped, which takes seconds and must not be cut short."""
    signal.alarm(0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _terminal_told_it() -> bool:
    """Whether a Ctrl-C reached the command already, as part of the terminal's foreground group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _wait(wanted: int) -> int:
    """Wait for the command, collecting on the way whatever orphan ends."""
    while True:
        pid, status = os.wait()
        if pid == wanted:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
