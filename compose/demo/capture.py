"""What `dw` shows in a terminal, as a picture for the README: `make capture`."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from compose.demo.__main__ import prepare
from compose.demo.scene import PATIENCE, Scene
from compose.demo.story import STAGE, push_images, store_credential

COLUMNS, ROWS = 112, 60
PICTURE = Path("docs/dw.svg")


def main() -> int:
    """Deploy, fail, look: each command in a terminal of its own; their last screens make the picture."""
    scene = prepare()
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115  # its own for good
    try:
        push_images(scene)
        store_credential(scene)
        with scene.worker():
            for arguments in (
                ("deploy", STAGE, scene.image("v1")),
                ("deploy", STAGE, scene.image("v2")),
                ("deploy", STAGE, scene.image("broken")),
                ("ps", STAGE),
                ("history", STAGE),
            ):
                _show(console, scene, arguments)
    finally:
        scene.tidy()
    picture = console.export_svg(title="dw", theme=MONOKAI)
    # Fonts would be fetched from elsewhere by whoever looks at it.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))
    print(PICTURE)
    return 0


def _show(console: Console, scene: Scene, arguments: tuple[str, ...]) -> None:
    console.print(f"[bold]$ dw {' '.join(arguments)}[/]", highlight=False)
    for line in _screen(scene, arguments):
        console.print(line)
    console.print()


def _screen(scene: Scene, arguments: tuple[str, ...]) -> list[Text]:
    """The lines that a command has left on a terminal, with their colours."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [str(Path(sys.executable).with_name("dw")), *arguments]
    env = {**scene.env, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env) as process:
        os.close(its)
        while written := _read(ours):
            stream.feed(written)
        process.wait(PATIENCE)
    os.close(ours)
    lines = [_line(screen, row) for row in range(ROWS)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other end is closed
        return b""


def _line(screen: pyte.Screen, row: int) -> Text:
    line = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        colour = "" if cell.fg == "default" else f"bright_{cell.fg[6:]}" if cell.fg.startswith("bright") else cell.fg
        line.append(cell.data, f"{'bold ' if cell.bold else ''}{colour}".strip())
    line.rstrip()
    return line


if __name__ == "__main__":
    sys.exit(main())
