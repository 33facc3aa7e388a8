"""Deploying, and what became of it."""

from typing import Annotated, Any

import typer

from worker.cli import completion
from worker.cli.arguments import (
    DEPLOY,
    LOOK,
    Answer,
    CancelOnInterrupt,
    Json,
    Stage,
    Wait,
    bytes_of,
    examples,
    pairs,
    port_of,
    split_stage,
    volume_of,
)

app = typer.Typer()

_CONTAINER = "The container"


@app.command(
    "deploy",
    rich_help_panel=DEPLOY,
    epilog=examples(
        "dw deploy shop/staging acme/shop:1.4.2",
        "dw deploy shop/staging 127.0.0.1:5000/acme/shop:1.4.2 --env LOG=debug --port 8080=18080",
        "dw deploy shop/live acme/shop@sha256:… --cutover http://proxy/hook --timeout 600",
        "dw deploy shop/staging acme/shop:1.4.2 --no-wait --json",
    ),
)
def deploy_(
    stage: Stage,
    image: Annotated[str, typer.Argument(metavar="IMAGE", show_default=False)],
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V", rich_help_panel=_CONTAINER)] = None,
    secret_env: Annotated[
        list[str] | None,
        typer.Option("--secret-env", metavar="K=SEALED", help="As `dw seal` prints it.", rich_help_panel=_CONTAINER),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            "-p",
            metavar="PORT[=HOST_PORT|keep]",
            help="8080, 8080=18080, 53/udp=keep.",
            rich_help_panel=_CONTAINER,
        ),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="K=V", rich_help_panel=_CONTAINER)] = None,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="Name on the network.", rich_help_panel=_CONTAINER)
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            "-v",
            metavar="NAME=PATH[:exclusive]",
            help="Exclusive: in one container at a time.",
            rich_help_panel=_CONTAINER,
        ),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="512m, 2g, or bytes.", rich_help_panel=_CONTAINER)] = None,
    cpus: Annotated[float | None, typer.Option(help="As in 0.5.", rich_help_panel=_CONTAINER)] = None,
    pids: Annotated[int | None, typer.Option(help="Processes and threads.", rich_help_panel=_CONTAINER)] = None,
    network: Annotated[
        str | None, typer.Option(help="One more network beside the shared one.", rich_help_panel=_CONTAINER)
    ] = None,
    credential: Annotated[
        str | None, typer.Option(help="A stored credential's name.", autocompletion=completion.credentials)
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="always or missing.", autocompletion=completion.one_of("always", "missing"))
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Instances of the stage that stay.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="start-first or stop-first; by itself the latter only where it must be.",
            autocompletion=completion.one_of("start-first", "stop-first"),
        ),
    ] = None,
    cutover: Annotated[
        str | None, typer.Option(metavar="URL", help="Told, by POST, that the new version takes over; must agree.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Where to; by itself where the stage is, or else the least loaded one.",
            autocompletion=completion.hosts,
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for the whole deployment.")] = None,
    health_timeout: Annotated[float | None, typer.Option(help="Seconds to become healthy.")] = None,
    force: Annotated[bool, typer.Option(help="Even if nothing has changed.")] = False,
    wait: Wait = True,
    cancel_on_interrupt: CancelOnInterrupt = False,
    as_json: Json = False,
) -> None:
    """Deploy an image to a stage and follow it to its end."""
    from worker.cli.output import errors_shown
    from worker.spec import DeploymentSpec, parse

    with errors_shown(as_json=as_json):
        project, stage_name = split_stage(stage)
        asked: dict[str, Any] = {
            "project": project,
            "stage": stage_name,
            "image": image,
            "env": pairs("env", env),
            "secret_env": pairs("secret_env", secret_env),
            "ports": dict(port_of(each) for each in port) if port else None,
            "labels": pairs("labels", label),
            "aliases": alias,
            "volumes": dict(volume_of(each) for each in volume) if volume else None,
            "memory": bytes_of(memory) if memory else None,
            "cpus": cpus,
            "pids": pids,
            "network": network,
            "credential": credential,
            "policy": policy,
            "keep": keep,
            "strategy": strategy,
            "cutover": {"url": cutover} if cutover else None,
            "host": host,
            "timeout": timeout,
            "health": {"timeout": health_timeout} if health_timeout else None,
            "force": force or None,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        # Checked here as the worker will: a slip costs no round trip, and a wrong argument never reaches the broker.
        parse(DeploymentSpec, "dw deploy", given)
        _carry_out("docker.deploy", given, waits=wait, cancels=cancel_on_interrupt, as_json=as_json)


@app.command(
    rich_help_panel=DEPLOY,
    epilog=examples("dw rollback shop/staging", "dw rollback shop/staging --to 31a3cd00-3fb6-4b9b-9211-7612fc62f8fa"),
)
def rollback(
    stage: Stage,
    to: Annotated[
        str | None,
        typer.Option(metavar="DEPLOYMENT", help="Its id, as `dw history` has it.", autocompletion=completion.lives),
    ] = None,
    wait: Wait = True,
    cancel_on_interrupt: CancelOnInterrupt = False,
    as_json: Json = False,
) -> None:
    """Deploy again what was live in a stage before, and follow it to its end."""
    from worker.cli.output import errors_shown
    from worker.spec import RollbackArguments, parse

    with errors_shown(as_json=as_json):
        project, stage_name = split_stage(stage)
        given = {"project": project, "stage": stage_name, **({} if to is None else {"to": to})}
        parse(RollbackArguments, "dw rollback", given)
        _carry_out("docker.rollback", given, waits=wait, cancels=cancel_on_interrupt, as_json=as_json)


@app.command(
    "history", rich_help_panel=LOOK, epilog=examples("dw history shop/staging", "dw history shop/staging --json")
)
def history_(stage: Stage, as_json: Json = False) -> None:
    """Show the deployments of a stage, newest first: what became of each, when, how long it took, and why it failed."""
    from worker.cli import history
    from worker.cli.output import errors_shown, show_json, show_table
    from worker.spec import StageArguments, parse
    from worker.store import deployments

    with errors_shown(as_json=as_json):
        project, name = split_stage(stage)
        where = parse(StageArguments, "dw history", {"project": project, "stage": name}).where
        found = deployments().history(where)
        if as_json:
            show_json({"project": project, "stage": name, "deployments": [history.described(each) for each in found]})
        else:
            show_table(
                ("DEPLOYMENT", "WHAT BECAME OF IT"),
                [(each.deployment_id, history.told(each)) for each in found],
                empty=f"nothing is known of {where}; `dw ps --all` shows which stages there are",
                last_wraps=True,
            )


@app.command(rich_help_panel=DEPLOY, epilog=examples("dw cancel 31a3cd00-3fb6-4b9b-9211-7612fc62f8fa"))
def cancel(
    deployment: Annotated[
        str,
        typer.Argument(metavar="DEPLOYMENT", help="Its id.", show_default=False, autocompletion=completion.under_way),
    ],
    as_json: Json = False,
    answer_timeout: Answer = 30,
) -> None:
    """End a deployment that is under way, and wait until what it has made is removed."""
    from worker.cli import deploy
    from worker.cli.output import errors_shown, out, show_json

    with errors_shown(as_json=as_json):
        answer = deploy.cancel(deployment, answer_timeout)
        show_json(answer) if as_json else out().print(deploy.STATES[answer["state"]].format(deployment))
        if answer["state"] != "cancelled":
            raise typer.Exit(1)


def _carry_out(task: str, given: dict[str, Any], *, waits: bool, cancels: bool, as_json: bool) -> None:
    from worker.cli import deploy
    from worker.cli.output import show_json

    if waits:
        result = deploy.run(task, given, cancels=cancels)
        show_json(result) if as_json else deploy.show(result)
        return
    sent = deploy.ask(task, given)
    show_json(sent) if as_json else deploy.show_sent(sent, f"{given['project']}/{given['stage']}")
