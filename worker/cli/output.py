"""What `dw` prints: lines for people, or one JSON object; errors on standard error, in one sentence.

What it takes to print for people is imported by who does: for machines, it would be a part of what takes longest.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from worker.errors import DeploymentError, Unanswered
from worker.settings import SettingsInvalid

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 1000
"""A pipe has no width to fit into, and whoever reads it wants whole names."""


_ROOM_FOR_WORDS = 40
"""Columns that a text needs to be read with ease."""


@cache
def out() -> "Console":
    """Standard output, which shows `:name:` in a log line or an image as it is."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


@cache
def err() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stderr.isatty() else _PIPE_WIDTH, stderr=True)


def show_json(value: object) -> None:
    """Print a value for machines, with no colour and no wrapping."""
    typer.echo(json.dumps(value))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str, last_wraps: bool = False) -> None:
    """Print a table without frames, and on standard error what it means that there is no row.

    Where the terminal has no room for it, each row is shown as lines of its own: a name that is cut short is of no use.
    Words in the last column may wrap.
    """
    from rich.table import Table

    if not rows:
        err().print(empty, markup=False)
    widths = [max(map(_width, column)) for column in zip(columns, *rows, strict=True)]
    if last_wraps:
        widths[-1] = min(widths[-1], _ROOM_FOR_WORDS)
    if sum(widths) + 2 * (len(widths) - 1) > out().width:
        _show_as_lines(columns, rows)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    out().print(table)


def _show_as_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    for name, *others in rows:
        out().print(name, style="bold", overflow="fold")
        grid = Table.grid(padding=(0, 2))
        if len(columns) > 2:  # noqa: PLR2004  # of two the second speaks for itself
            grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for label, text in zip(columns[1:], others, strict=True):
            grid.add_row(*(label, text)[-len(grid.columns) :])
        out().print(Padding.indent(grid, 2))


def _width(cell: str) -> int:
    from rich.text import Text

    return max(line.cell_len for line in Text.from_markup(cell).split("\n", allow_blank=True))


def megabytes(size: int) -> str:
    """A number of bytes as people read it."""
    return f"{size / 1e6:.1f} MB"


def urls(ports: Mapping[str, int], host: str = "127.0.0.1") -> list[str]:
    """Where each published port can be reached."""
    return [
        f"http://{host}:{number}" if port.endswith("/tcp") else f"{host}:{number}/{port.partition('/')[2]}"
        for port, number in ports.items()
    ]


@contextmanager
def errors_shown(*, as_json: bool) -> Iterator[None]:
    """Show an error of the contract and exit with 1: only what was asked for and happened exits with 0."""
    try:
        yield
    except DeploymentError as error:
        show_error(type(error).__name__, error.message, error.facts, as_json=as_json)
        raise typer.Exit(1) from None
    except RedisError as error:
        what, to_check = "can't be reached", "DW_REDIS_URL"
        if isinstance(error, AuthenticationError):
            what, to_check = "refuses the login", "user and password in DW_REDIS_URL"
        elif isinstance(error, NoPermissionError):
            what, to_check = "denies what is asked", "DW_REDIS_URL, and what its user may do"
        message = f"Redis {what} ({' '.join(str(error).split())}): check {to_check}."
        show_error("Unanswered", message, {}, as_json=as_json)
        raise typer.Exit(1) from None
    except (Unanswered, SettingsInvalid) as error:
        show_error(type(error).__name__, str(error), {}, as_json=as_json)
        raise typer.Exit(1) from None


def show_error(kind: str, message: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Show what went wrong, and what to do next."""
    from worker.cli.hints import hint

    to_do = hint(kind, message, facts)
    if as_json:
        show_json({"error": {"type": kind, "message": message, "facts": dict(facts), "hint": to_do}})
        return
    from rich.text import Text

    err().print(Text.assemble((kind, "bold red"), " ", message))
    for line in facts.get("logs", []):
        err().print(f"  | {line}", markup=False, style="dim")
    for check in facts.get("health_log", [])[-1:]:
        for line in check.splitlines():
            err().print(f"  health check | {line}", markup=False, style="dim")
    if to_do:
        err().print(f"-> {to_do}", markup=False, style="cyan")
