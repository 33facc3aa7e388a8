"""`dw deploy` and `dw rollback`: ask for a deployment and follow it."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import typer

from worker.cli import progress
from worker.cli.client import calls
from worker.cli.output import err, out, urls
from worker.settings import settings

_CANCELLED_WITHIN = 30
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
    answer: dict[str, Any] = calls().ask("docker.cancel", {"deployment_id": task_id}, patience)
    # Not until the result is there: a removal that the engine refuses goes on after that.
    while answer["state"] == "cancelling" and time.monotonic() < give_up_at:
        calls().has_ended_within(task_id, give_up_at - time.monotonic())
        answer = calls().ask("docker.cancel", {"deployment_id": task_id}, patience)
    return answer


def run(task: str, arguments: Mapping[str, Any], *, cancels: bool) -> dict[str, Any]:
    """Ask for a deployment and follow it to its end; Ctrl-C may cancel it, and exits.

    Raises the deployment's DeploymentError, Unanswered.
    """
    task_id = calls().send(task, arguments)
    title = f"{arguments['project']}/{arguments['stage']}", str(arguments.get("image", "goes back"))
    try:
        progress.follow(task_id, task, title)
    except KeyboardInterrupt:
        _interrupted(task_id, cancels=cancels)
        raise typer.Exit(130) from None
    result: dict[str, Any] = calls().outcome(task_id)
    return result


def ask(task: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for a deployment and wait for nothing.

    Raises Unanswered.
    """
    return {"deployment_id": calls().send(task, arguments), "state": "sent"}


def show_sent(sent: Mapping[str, Any], stage: str) -> None:
    """Say what was sent, and how to see what becomes of it."""
    out().print(f"sent {sent['deployment_id']}; to see what becomes of it: dw history {stage}")


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


def show(result: dict[str, Any]) -> None:
    """Say what a deployment brought."""
    what = "was live already" if result["state"] == "unchanged" else "is live"
    out().print(f"[bold green]{result['project']}/{result['stage']}[/] {what}: {result['image']}")
    out().print(f"  container {result['container_name']} ({result['health']})")
    if result["digest"]:
        out().print(f"  digest    {result['digest']}")
    # Of another host than this process' own, a port is to be asked for there.
    host = "127.0.0.1" if result["host"] == settings().host else result["host"]
    for url in urls(result["ports"], host):
        out().print(f"  url       {url}")
    steps = " ".join(f"{step} {seconds:.2f}" for step, seconds in result["seconds"].items())
    out().print(f"  seconds   {steps}")
    if result["replaced"]:
        out().print(f"  replaced  {', '.join(each[:12] for each in result['replaced'])}")
