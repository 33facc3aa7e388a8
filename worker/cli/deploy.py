"""`dw deploy` and `dw rollback`: ask for a deployment and follow it."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import typer
from rich.live import Live
from rich.text import Text

from worker.cli import client
from worker.cli.output import err, out, urls

_CANCELLED_WITHIN = 30
_STEPS = ("pull", "create", "start", "prove", "promote")
_ALL_STEPS = (
    *("pull", "inspect", "create", "connect", "displace", "start"),
    *("prove", "alias", "cutover", "promote", "drain", "retire"),
)
"""With those that a first deployment of an image that is there has no need of."""


STATES = {
    "cancelled": "{} is cancelled: what a deployment had made is removed, what an order to a stage had done stays.",
    "cancelling": "Deployment {} is being cancelled, and that isn't done yet: see the workers' logs if it stays so.",
    "live": "Deployment {} has succeeded already: it is live.",
    "unchanged": "Deployment {} has ended already: nothing was to be changed.",
    "adopted": "Deployment {} has succeeded already: it is live.",
    "done": "Deployment {} has ended already: what it was to do is done.",
    "failed": "Deployment {} has failed already.",
    "superseded": "Deployment {} has ended already: a newer one took its place.",
    "unknown": "No worker knows deployment {}: if its message is still to come, it is cancelled then.",
}
"""What a cancel's state means."""


def cancel(task_id: str, patience: float) -> dict[str, Any]:
    """Cancel a deployment, wait `patience` seconds for its end, and say what became of it.

    Raises Unanswered.
    """
    give_up_at = time.monotonic() + patience
    answer: dict[str, Any] = client.ask("docker.cancel", patience, deployment_id=task_id)
    # Not until the result is there: a removal that the engine refuses goes on after that.
    while answer["state"] == "cancelling" and time.monotonic() < give_up_at:
        client.has_ended_within(task_id, give_up_at - time.monotonic())
        answer = client.ask("docker.cancel", patience, deployment_id=task_id)
    return answer


def run(task: str, arguments: Mapping[str, Any], *, cancels: bool) -> dict[str, Any]:
    """Ask for a deployment and follow it to its end; Ctrl-C may cancel it, and exits.

    Raises the deployment's DeploymentError, Unanswered.
    """
    task_id = client.send(task, **arguments)
    try:
        return _follow(task_id, task)
    except KeyboardInterrupt:
        _interrupted(task_id, cancels=cancels)
        raise typer.Exit(130) from None


def _interrupted(task_id: str, *, cancels: bool) -> None:
    """Ctrl-C while a deployment is followed: cancel it where that was asked for, or is answered with yes."""
    if cancels or _is_wanted():
        state = cancel(task_id, _CANCELLED_WITHIN)["state"]
        err().print(STATES[state].format(task_id))
    else:
        err().print(f"The deployment goes on; to end it: dw cancel {task_id}")


def _is_wanted() -> bool:
    try:
        return sys.stdin.isatty() and typer.confirm("Cancel the deployment?", err=True)
    except typer.Abort:
        return False


def _follow(task_id: str, task: str) -> dict[str, Any]:
    """Show a deployment's steps until it has ended: live in a terminal, a line a step elsewhere."""
    if err().is_terminal:
        _follow_live(task_id, task)
    else:
        _follow_in_lines(task_id, task)
    result: dict[str, Any] = client.outcome(task_id)
    return result


def show(result: dict[str, Any]) -> None:
    """Say what a deployment brought."""
    what = "was live already" if result["state"] == "unchanged" else "is live"
    out().print(f"[bold green]{result['project']}/{result['stage']}[/] {what}: {result['image']}")
    out().print(f"  container {result['container_name']} ({result['health']})")
    if result["digest"]:
        out().print(f"  digest    {result['digest']}")
    for url in urls(result["ports"]):
        out().print(f"  url       {url}")
    steps = " ".join(f"{step} {seconds:.2f}" for step, seconds in result["seconds"].items())
    out().print(f"  seconds   {steps}")
    if result["replaced"]:
        out().print(f"  replaced  {', '.join(each[:12] for each in result['replaced'])}")


def _follow_in_lines(task_id: str, task: str) -> None:
    said = None
    for meta in client.follow(task_id, task):
        if meta["step"] != said:
            said = meta["step"]
            err().print(said)


def _follow_live(task_id: str, task: str) -> None:
    started, view = time.monotonic(), Text()
    with Live(view, console=err(), transient=True, refresh_per_second=8) as live:
        for meta in client.follow(task_id, task):
            live.update(_line(meta, time.monotonic() - started))


def _line(meta: dict[str, Any], seconds: float) -> Text:
    step, line = meta["step"], Text()
    at = _ALL_STEPS.index(step) if step in _ALL_STEPS else -1
    for number, name in enumerate(_ALL_STEPS):
        if name in _STEPS or number == at:
            style = "green" if number < at else "bold cyan" if number == at else "dim"
            line.append(f"{name} ", style)
    if at < 0:
        line.append(f"{step} ", "bold yellow")
    if meta.get("total"):
        line.append(f"{meta['current'] / 1e6:.1f} of {meta['total'] / 1e6:.1f} MB ", "cyan")
    line.append(f"{seconds:.0f} s", "dim")
    return line
