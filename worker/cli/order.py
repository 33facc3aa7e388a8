"""`dw stop`, `restart` and `rm`: order something of a stage, and wait until it is done."""

from typing import Any, Literal

import typer

from worker.cli import client
from worker.cli.output import err, out, show_json, urls
from worker.spec import StageOrder, parse

Action = Literal["stop", "restart", "remove"]
_DONE = {"stop": "stopped", "restart": "restarted", "remove": "removed"}


def carry_out(action: Action, patience: float, /, *, as_json: bool, **arguments: object) -> None:
    """Have an action done to each container of a stage, once no deployment is at it, and say what came of it.

    Raises the order's DeploymentError, or Unanswered if no worker takes it within `patience` seconds.
    """
    given = {name: value for name, value in {"action": action, **arguments}.items() if value is not None}
    order = parse(StageOrder, f"dw {action}", given)
    task_id = client.send("docker.stage", **given)
    try:
        result = _follow(task_id, patience)
    except KeyboardInterrupt:
        err().print(f"{order.about} goes on; to end it: dw cancel {task_id}")
        raise typer.Exit(130) from None
    if as_json:
        show_json({_DONE[action]: result["containers"]})
        return
    for each in result["containers"]:
        out().print(f"{_DONE[action]} {each['container_name']}{_more(each)}")


def _follow(task_id: str, patience: float) -> dict[str, Any]:
    for _ in client.follow(task_id, "docker.stage", patience):
        pass
    result: dict[str, Any] = client.outcome(task_id)
    return result


def _more(container: dict[str, Any]) -> str:
    if "exit_code" in container:
        return f" (exit code {container['exit_code']})"
    return "".join(f" {url}" for url in urls(container.get("ports", {})))
