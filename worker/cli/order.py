"""`dw stop`, `restart` and `rm`: order something of a stage, and wait until it is done."""

from typing import Any, Literal

import typer

from worker.cli import deploy, progress
from worker.cli.client import calls
from worker.cli.output import err, out, show_json, urls
from worker.spec import StageOrder, parse

Action = Literal["stop", "restart", "remove"]
_DONE = {"stop": "stopped", "restart": "restarted", "remove": "removed"}


def carry_out(action: Action, patience: float, /, *, waits: bool, as_json: bool, **arguments: object) -> None:
    """Have an action done to each container of a stage, once no deployment is at it, and say what came of it.

    Raises the order's DeploymentError, or Unanswered if no worker takes it within `patience` seconds.
    """
    given = {name: value for name, value in {"action": action, **arguments}.items() if value is not None}
    order = parse(StageOrder, f"dw {action}", given)
    if not waits:
        sent = deploy.ask("docker.stage", given)
        show_json(sent) if as_json else deploy.show_sent(sent, order.where)
        return
    task_id = calls().send("docker.stage", given)
    try:
        progress.follow(task_id, "docker.stage", (order.where, action), patience)
    except KeyboardInterrupt:
        err().print(f"{order.about} goes on; to end it: dw cancel {task_id}")
        raise typer.Exit(130) from None
    result: dict[str, Any] = calls().outcome(task_id)
    if as_json:
        show_json({_DONE[action]: result["containers"]})
        return
    for each in result["containers"]:
        out().print(f"{_DONE[action]} {each['container_name']}{_more(each)}")


def _more(container: dict[str, Any]) -> str:
    if "exit_code" in container:
        return f" (exit code {container['exit_code']})"
    return "".join(f" {url}" for url in urls(container.get("ports", {})))
