"""What `dw` shows in a terminal, as a picture for the README: `make capture`."""

import os
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from compose.demo.__main__ import prepare
from compose.demo.scene import PATIENCE, Scene
from compose.demo.story import STAGE, push_images, store_credential
from compose.demo.terminal import terminal

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
    with terminal([scene.program, *arguments], scene.env, COLUMNS, ROWS) as shown:
        shown.end(PATIENCE)
        for line in shown.coloured():
            console.print(line)
    console.print()


if __name__ == "__main__":
    sys.exit(main())
