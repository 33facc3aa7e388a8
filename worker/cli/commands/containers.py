"""What runs in a stage, and orders to it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.arguments import (
    DEPLOY,
    LOOK,
    Answer,
    Json,
    OptionalStage,
    Stage,
    StopTimeout,
    Wait,
    examples,
    split_stage,
)
from worker.errors import ContainerNotFound

if TYPE_CHECKING:
    from worker.cli import order

app = typer.Typer()


@app.command(rich_help_panel=LOOK, epilog=examples("dw ps", "dw ps shop/staging --all", "dw ps --json"))
def ps(
    stage: OptionalStage = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Stopped ones too.")] = False,
    as_json: Json = False,
    answer_timeout: Answer = 10,
) -> None:
    """List the managed containers."""
    from worker.cli.output import errors_shown, show_json, show_table, urls

    with errors_shown(as_json=as_json):
        found = _containers(stage, answer_timeout, every=every, as_json=as_json)
        if as_json:
            show_json({"containers": found})
            return
        # Where there are several hosts, a port is one of its host's.
        hosts = [each["host"] + " (away)" * each["host_away"] for each in found]
        if len({each["host"] for each in found}) == 1 and not any(each["host_away"] for each in found):
            hosts = []
        rows: list[tuple[str, ...]] = [
            (
                f"{each['project']}/{each['stage']}",
                each["name"],
                each["image"],
                each["status"],
                " ".join(urls(each["ports"], each["host"]) if hosts else urls(each["ports"])),
            )
            for each in found
        ]
        if hosts:
            rows = [(*row, host) for row, host in zip(rows, hosts, strict=True)]
        columns = ("STAGE", "CONTAINER", "IMAGE", "STATUS", "URL", *(("HOST",) if hosts else ()))
        empty = f"no container {'is there' if every else 'runs'}{f' of {stage}' if stage else ''}"
        show_table(columns, rows, empty=empty if every else f"{empty}; `--all` shows stopped ones too")


@app.command(rich_help_panel=LOOK, epilog=examples("dw logs shop/staging", "dw logs shop/staging --tail 500"))
def logs(
    stage: Stage,
    tail: Annotated[int, typer.Option(help="Lines of each container.")] = 100,
    as_json: Json = False,
    answer_timeout: Answer = 10,
) -> None:
    """Print the last lines that a stage's containers wrote."""
    from worker.cli.output import errors_shown, out, show_json

    with errors_shown(as_json=as_json):
        answers = _each_of(stage, "docker.logs", answer_timeout, tail=tail, as_json=as_json)
        if as_json:
            show_json({"logs": answers})
            return
        for answer in answers:
            if len(answers) > 1:
                out().print(f"[bold]{answer['container_name']}[/]")
            for line in answer["lines"]:
                typer.echo(line)


@app.command(rich_help_panel=DEPLOY, epilog=examples("dw stop shop/staging", "dw stop shop/staging --timeout 30"))
def stop(
    stage: Stage, timeout: StopTimeout = None, wait: Wait = True, as_json: Json = False, answer_timeout: Answer = 60
) -> None:
    """Stop a stage's containers, to stay so until the next restart or deployment."""
    _order(stage, "stop", answer_timeout, waits=wait, timeout=timeout, as_json=as_json)


@app.command(rich_help_panel=DEPLOY, epilog=examples("dw restart shop/staging"))
def restart(
    stage: Stage, timeout: StopTimeout = None, wait: Wait = True, as_json: Json = False, answer_timeout: Answer = 60
) -> None:
    """Restart a stage's containers, or start them again; their random ports may be others afterwards."""
    _order(stage, "restart", answer_timeout, waits=wait, timeout=timeout, as_json=as_json)


@app.command(rich_help_panel=DEPLOY, epilog=examples("dw rm shop/staging", "dw rm shop/staging --force"))
def rm(
    stage: Stage,
    force: Annotated[bool, typer.Option("--force", "-f", help="Running ones too.")] = False,
    timeout: StopTimeout = None,
    wait: Wait = True,
    as_json: Json = False,
    answer_timeout: Answer = 60,
) -> None:
    """Remove a stage's containers."""
    _order(stage, "remove", answer_timeout, waits=wait, timeout=timeout, force=force, as_json=as_json)


def _containers(stage: str | None, timeout: float, *, every: bool, as_json: bool) -> list[dict[str, Any]]:
    from worker.cli.client import calls

    project, name = split_stage(stage) if stage else (None, None)
    asked = calls().send("docker.list", {"project": project, "stage": name, "all": every})
    if not as_json:
        import rich.console
        import rich.table  # noqa: F401  # while a worker answers: to show that will take it
    found: list[dict[str, Any]] = calls().answer(asked, "docker.list", timeout)["containers"]
    return found


def _order(
    stage: str, action: "order.Action", patience: float, /, *, waits: bool, as_json: bool, **arguments: object
) -> None:
    from worker.cli import order
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        project, name = split_stage(stage)
        order.carry_out(action, patience, project=project, stage=name, waits=waits, as_json=as_json, **arguments)


def _each_of(stage: str, task: str, patience: float, /, *, as_json: bool, **arguments: object) -> list[dict[str, Any]]:
    from worker.cli.client import calls

    found = _containers(stage, patience, every=True, as_json=as_json)
    if not found:
        raise ContainerNotFound.in_stage(stage)
    return [calls().ask(task, {"container": each["container_id"], **arguments}, patience) for each in found]
