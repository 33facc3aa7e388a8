"""`dw doctor`: what is right and what isn't, and what to do about it."""

from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from worker.cli.doctor import records, store, workers
from worker.cli.doctor.finding import FAIL, OK, WARN, Finding
from worker.cli.output import out, show_json

_STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red"}


def run(patience: float, *, as_json: bool) -> None:
    """Look at everything, say what was found, and exit with 1 where something fails.

    Each host's answer has `patience` seconds. Where Redis can't be had, nothing else can be told.
    """
    found = store.look()
    if not any(each.check == "redis" and each.status == FAIL for each in found):
        found += workers.look(patience)
        found += records.look()
    if as_json:
        show_json({"ok": not _fails(found), "checks": [each.described() for each in found]})
    else:
        _show(found)
    if _fails(found):
        raise typer.Exit(1)


def _fails(found: Sequence[Finding]) -> bool:
    return any(each.status == FAIL for each in found)


def _show(found: Sequence[Finding]) -> None:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, min_width=len(WARN))
    table.add_column(overflow="fold")
    width = max(len(each.check) for each in found)
    for each in found:
        said = Text.assemble((each.check.ljust(width), "bold"), " ", each.message)
        if each.hint:
            said.append(f"\n-> {each.hint}", "cyan")
        table.add_row(Text(each.status, _STYLES[each.status]), said)
    out().print(table)
    counts = [(status, sum(each.status == status for each in found)) for status in (OK, WARN, FAIL)]
    out().print(", ".join(f"{count} {status}" for status, count in counts))
