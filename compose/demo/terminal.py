"""A terminal that a program runs in, and what is to be seen there."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyte
from rich.text import Text


class Terminal:
    """A screen of so many columns and rows, and the program on it."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes], columns: int, rows: int) -> None:
        self.process = process
        self.raw = b""
        """All that was written."""
        self._ours = ours
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What is to be seen, less what is empty at the end of each line and of all."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    def coloured(self) -> list[Text]:
        """The same, with its colours."""
        return [self._coloured(row) for row in range(len(self.lines))]

    def resize(self, columns: int, rows: int) -> None:
        """Make it another size, and have the program told."""
        self._screen.resize(rows, columns)
        _set_size(self._ours, columns, rows)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def see(self, condition: Callable[[list[str]], Any], seconds: float = 30) -> Any:
        """Read on until what is to be seen fulfils a condition, and return what that says.

        Raises TimeoutError, with what is to be seen.
        """
        give_up_at = time.monotonic() + seconds
        while not (said := condition(self.lines)):
            if time.monotonic() > give_up_at or not self._read(0.1):
                raise TimeoutError("\n".join(self.lines))
        return said

    def end(self, seconds: float = 120) -> int:
        """Read on to the program's end, and return its exit status."""
        give_up_at = time.monotonic() + seconds
        while self._read(0.1):
            if time.monotonic() > give_up_at:
                raise TimeoutError("\n".join(self.lines))
        return self.process.wait(seconds)

    def _read(self, patience: float) -> bool:
        if not select.select([self._ours], [], [], patience)[0]:
            return True
        try:
            written = os.read(self._ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.raw += written
        self._stream.feed(written)
        return bool(written)

    def _coloured(self, row: int) -> Text:
        line = Text()
        for column in range(self._screen.columns):
            cell = self._screen.buffer[row][column]
            bright = cell.fg.startswith("bright")
            colour = "" if cell.fg == "default" else f"bright_{cell.fg[6:]}" if bright else cell.fg
            line.append(cell.data, f"{'bold ' if cell.bold else ''}{colour}".strip())
        line.rstrip()
        return line


@contextlib.contextmanager
def terminal(command: Sequence[str], env: Mapping[str, str], columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    """Run a program in a terminal; it is killed where it hasn't ended by itself."""
    ours, its = pty.openpty()
    _set_size(its, columns, rows)
    env = {"TERM": "xterm-256color", **env}
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)
    # With a session of its own the terminal's keys, as Ctrl-C, and its size reach the program.
    process = subprocess.Popen(["setsid", "--ctty", *command], stdin=its, stdout=its, stderr=its, env=env)
    os.close(its)
    try:
        yield Terminal(ours, process, columns, rows)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def _set_size(terminal_end: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal_end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
