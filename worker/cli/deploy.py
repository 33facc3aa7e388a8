"""`dw deploy`: ask for a deployment and follow it."""

import time
from typing import Any

from rich.live import Live
from rich.text import Text

from worker.cli import client
from worker.cli.output import err, out, urls

_STEPS = ("pull", "inspect", "create", "connect", "start", "prove", "promote", "retire")


def follow(task_id: str) -> dict[str, Any]:
    """Show a deployment's steps until it has ended: live in a terminal, a line a step elsewhere.

    Raises the deployment's DeploymentError, Unanswered.
    """
    if err.is_terminal:
        _follow_live(task_id)
    else:
        _follow_in_lines(task_id)
    result: dict[str, Any] = client.outcome(task_id)
    return result


def show(result: dict[str, Any]) -> None:
    """Say what a deployment brought."""
    what = "was live already" if result["state"] == "unchanged" else "is live"
    out.print(f"[bold green]{result['project']}/{result['stage']}[/] {what}: {result['image']}")
    out.print(f"  container {result['container_name']} ({result['health']})")
    if result["digest"]:
        out.print(f"  digest    {result['digest']}")
    for url in urls(result["ports"]):
        out.print(f"  url       {url}")
    steps = " ".join(f"{step} {seconds:.2f}" for step, seconds in result["seconds"].items())
    out.print(f"  seconds   {steps}")
    if result["replaced"]:
        out.print(f"  replaced  {', '.join(each[:12] for each in result['replaced'])}")


def _follow_in_lines(task_id: str) -> None:
    said = None
    for meta in client.follow(task_id):
        if meta["step"] != said:
            said = meta["step"]
            err.print(said)


def _follow_live(task_id: str) -> None:
    started, view = time.monotonic(), Text()
    with Live(view, console=err, transient=True, refresh_per_second=8) as live:
        for meta in client.follow(task_id):
            live.update(_line(meta, time.monotonic() - started))


def _line(meta: dict[str, Any], seconds: float) -> Text:
    step, line = meta["step"], Text()
    at = _STEPS.index(step) if step in _STEPS else -1
    for number, name in enumerate(_STEPS):
        style = "green" if number < at else "bold cyan" if number == at else "dim"
        line.append(f"{name} ", style)
    if at < 0:
        line.append(f"{step} ", "bold yellow")
    if meta.get("total"):
        line.append(f"{meta['current'] / 1e6:.1f} of {meta['total'] / 1e6:.1f} MB ", "cyan")
    line.append(f"{seconds:.0f} s", "dim")
    return line
