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
from redis.exceptions import NoPermissionError, RedisError

from worker.errors import DeploymentError, Unanswered
from worker.settings import SettingsInvalid

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 1000
"""A pipe has no width to fit into, and whoever reads it wants whole names."""


@cache
def out() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


@cache
def err() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stderr.isatty() else _PIPE_WIDTH, stderr=True)


def show_json(value: object) -> None:
    """Print a value for machines, with no colour and no wrapping."""
    typer.echo(json.dumps(value))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without frames."""
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    out().print(table)


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
        what = "denies what is asked" if isinstance(error, NoPermissionError) else "can't be reached"
        message = f"Redis {what} ({' '.join(str(error).split())}): check DW_REDIS_URL, and what its user may do."
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
