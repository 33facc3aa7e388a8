"""The commands of `dw`.

Each imports what it needs when it runs: most of a command's time is that of its imports, and `dw --help` needs none.
"""

import atexit
import gc
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import credential
from worker.errors import SpecInvalid

if TYPE_CHECKING:
    from worker.cli import order

app = typer.Typer(
    name="dw",
    help="Deploy container images and see to what runs. A stage is written PROJECT/STAGE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(credential.app, name="credential")

Stage = Annotated[str, typer.Argument(metavar="PROJECT/STAGE", show_default=False)]
OptionalStage = Annotated[str | None, typer.Argument(metavar="[PROJECT/STAGE]", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Answer = Annotated[float, typer.Option("--answer-timeout", help="Seconds to wait for a worker's answer.")]
StopTimeout = Annotated[int | None, typer.Option("--timeout", help="Seconds until the engine kills it.")]
CancelOnInterrupt = Annotated[
    bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the deployment without asking.")
]


@app.command("deploy")
def deploy_(
    stage: Stage,
    image: Annotated[str, typer.Argument(metavar="IMAGE", show_default=False)],
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V")] = None,
    secret_env: Annotated[
        list[str] | None, typer.Option("--secret-env", metavar="K=SEALED", help="As `dw seal` prints it.")
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option("--port", "-p", metavar="PORT[=HOST_PORT|keep]", help="8080, 8080=18080, 53/udp=keep."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="K=V")] = None,
    alias: Annotated[list[str] | None, typer.Option("--alias", help="Name on the network.")] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option("--volume", "-v", metavar="NAME=PATH[:exclusive]", help="Exclusive: in one container at a time."),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="512m, 2g, or bytes.")] = None,
    cpus: Annotated[float | None, typer.Option(help="As in 0.5.")] = None,
    pids: Annotated[int | None, typer.Option(help="Processes and threads.")] = None,
    network: Annotated[str | None, typer.Option(help="One more network beside the shared one.")] = None,
    credential: Annotated[str | None, typer.Option(help="A stored credential's name.")] = None,
    policy: Annotated[str | None, typer.Option(help="always or missing.")] = None,
    keep: Annotated[int | None, typer.Option(help="Instances of the stage that stay.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="start-first or stop-first; by itself the latter only where it must be.")
    ] = None,
    cutover: Annotated[
        str | None, typer.Option(metavar="URL", help="Told, by POST, that the new version takes over; must agree.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Where to; by itself where the stage is, or else the least loaded one.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for the whole deployment.")] = None,
    health_timeout: Annotated[float | None, typer.Option(help="Seconds to become healthy.")] = None,
    force: Annotated[bool, typer.Option(help="Even if nothing has changed.")] = False,
    cancel_on_interrupt: CancelOnInterrupt = False,
    as_json: Json = False,
) -> None:
    """Deploy an image to a stage and follow it to its end."""
    from worker.cli import deploy
    from worker.cli.output import errors_shown, show_json
    from worker.spec import DeploymentSpec, parse

    with errors_shown(as_json=as_json):
        project, stage_name = _split_stage(stage)
        asked: dict[str, Any] = {
            "project": project,
            "stage": stage_name,
            "image": image,
            "env": _pairs("env", env),
            "secret_env": _pairs("secret_env", secret_env),
            "ports": dict(_port(each) for each in port) if port else None,
            "labels": _pairs("labels", label),
            "aliases": alias,
            "volumes": dict(_volume(each) for each in volume) if volume else None,
            "memory": _bytes(memory) if memory else None,
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
        result = deploy.run("docker.deploy", given, cancels=cancel_on_interrupt)
        show_json(result) if as_json else deploy.show(result)


@app.command()
def rollback(
    stage: Stage,
    to: Annotated[str | None, typer.Option(metavar="DEPLOYMENT", help="Its id, as `dw history` has it.")] = None,
    cancel_on_interrupt: CancelOnInterrupt = False,
    as_json: Json = False,
) -> None:
    """Deploy again what was live in a stage before, and follow it to its end."""
    from worker.cli import deploy
    from worker.cli.output import errors_shown, show_json
    from worker.spec import RollbackArguments, parse

    with errors_shown(as_json=as_json):
        project, stage_name = _split_stage(stage)
        given = {"project": project, "stage": stage_name, **({} if to is None else {"to": to})}
        parse(RollbackArguments, "dw rollback", given)
        result = deploy.run("docker.rollback", given, cancels=cancel_on_interrupt)
        show_json(result) if as_json else deploy.show(result)


@app.command("history")
def history_(stage: Stage, as_json: Json = False) -> None:
    """Show the deployments of a stage, newest first: what became of each, when, how long it took, and why it failed."""
    from worker.cli import history
    from worker.cli.output import errors_shown, show_json, show_table
    from worker.spec import StageArguments, parse
    from worker.store import deployments

    with errors_shown(as_json=as_json):
        project, name = _split_stage(stage)
        where = parse(StageArguments, "dw history", {"project": project, "stage": name}).where
        found = deployments().history(where)
        if as_json:
            show_json({"project": project, "stage": name, "deployments": [history.described(each) for each in found]})
        else:
            show_table(
                ("DEPLOYMENT", "WHAT BECAME OF IT"), [(each.deployment_id, history.told(each)) for each in found]
            )


@app.command()
def cancel(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id.", show_default=False)],
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


@app.command()
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
        show_table(("STAGE", "CONTAINER", "IMAGE", "STATUS", "URL", *(("HOST",) if hosts else ())), rows)


@app.command()
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


@app.command()
def stop(stage: Stage, timeout: StopTimeout = None, as_json: Json = False, answer_timeout: Answer = 60) -> None:
    """Stop a stage's containers, to stay so until the next restart or deployment."""
    _order(stage, "stop", answer_timeout, timeout=timeout, as_json=as_json)


@app.command()
def restart(stage: Stage, timeout: StopTimeout = None, as_json: Json = False, answer_timeout: Answer = 60) -> None:
    """Restart a stage's containers, or start them again; their random ports may be others afterwards."""
    _order(stage, "restart", answer_timeout, timeout=timeout, as_json=as_json)


@app.command()
def rm(
    stage: Stage,
    force: Annotated[bool, typer.Option("--force", "-f", help="Running ones too.")] = False,
    timeout: StopTimeout = None,
    as_json: Json = False,
    answer_timeout: Answer = 60,
) -> None:
    """Remove a stage's containers."""
    _order(stage, "remove", answer_timeout, timeout=timeout, force=force, as_json=as_json)


@app.command()
def prune(
    keep: Annotated[int | None, typer.Option(help="Versions of each stage whose images stay, 2 at least.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: Json = False,
    answer_timeout: Answer = 300,
) -> None:
    """Remove, on all hosts, the images that only ended deployments used, and containers that these have left."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown, megabytes, out, show_json, show_table

    with errors_shown(as_json=as_json):
        pruned = host_commands.prune(answer_timeout, keep=keep, dry_run=dry_run)
        if as_json:
            show_json(pruned)
            return
        rows = [(each["name"], each["id"].removeprefix("sha256:")[:12], each["size"]) for each in pruned["images"]]
        show_table(("IMAGE", "ID", "SIZE"), [(name, short, megabytes(size)) for name, short, size in rows])
        for name in pruned["containers"]:
            out().print(f"{'would remove' if dry_run else 'removed'} container {name}")
        out().print(f"{'would free' if dry_run else 'freed'} {megabytes(pruned['bytes_freed'])}")


@app.command("hosts")
def hosts_(as_json: Json = False) -> None:
    """Show the hosts: who is there, its engine, and what it has to do."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        host_commands.show(as_json=as_json)


@app.command()
def drain(
    host: Annotated[str, typer.Argument(metavar="HOST", show_default=False)],
    move: Annotated[
        bool, typer.Option("--move", help="Deploy what is live there to other hosts, one stage after the other.")
    ] = False,
    end: Annotated[bool, typer.Option("--end", help="Let it take on what is new again.")] = False,
    as_json: Json = False,
) -> None:
    """Give a host nothing new; what is live there goes on, and its volumes' data stays."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        host_commands.drain(host, move=move, end=end, as_json=as_json)


@app.command()
def forget(
    host: Annotated[str, typer.Argument(metavar="HOST", show_default=False)],
    as_json: Json = False,
) -> None:
    """Forget a host that is gone for good, and end what it was at."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        host_commands.forget(host, as_json=as_json)


@app.command()
def seal(stage: Stage, name: str, as_json: Json = False) -> None:
    """Seal a secret variable of a stage: reads the value from a prompt or standard input, prints it sealed."""
    from worker.cli.login import read_secret
    from worker.cli.output import errors_shown, show_json
    from worker.keyring import keyring, variable_purpose

    with errors_shown(as_json=as_json):
        project, stage_name = _split_stage(stage)
        sealed = keyring().seal(read_secret("Value"), variable_purpose(project, stage_name, name))
        show_json({"name": name, "sealed": sealed}) if as_json else typer.echo(sealed)


@app.command()
def rekey(as_json: Json = False, answer_timeout: Answer = 10) -> None:
    """Seal all that is stored anew with the first of DW_KEYS; run it again before the others are dropped.

    Give the new key to all workers first. Sealed values that you keep yourself are yours to seal anew.
    """
    from worker.cli import rekey as rekeying

    rekeying.run(answer_timeout, as_json=as_json)


def main() -> None:
    """Run `dw`."""
    # A process this short has nothing to collect, and looking for it would be a third of its time: the most at its end.
    gc.disable()
    atexit.register(gc.freeze)
    app()


def _containers(stage: str | None, timeout: float, *, every: bool, as_json: bool) -> list[dict[str, Any]]:
    from worker.cli import client

    project, name = _split_stage(stage) if stage else (None, None)
    asked = client.send("docker.list", project=project, stage=name, all=every)
    if not as_json:
        import rich.console
        import rich.table  # noqa: F401  # while a worker answers: to show that will take it
    found: list[dict[str, Any]] = client.answer(asked, "docker.list", timeout)["containers"]
    return found


def _order(stage: str, action: "order.Action", patience: float, /, *, as_json: bool, **arguments: object) -> None:
    from worker.cli import order
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        project, name = _split_stage(stage)
        order.carry_out(action, patience, project=project, stage=name, as_json=as_json, **arguments)


def _each_of(stage: str, task: str, patience: float, /, *, as_json: bool, **arguments: object) -> list[dict[str, Any]]:
    from worker.cli import client
    from worker.plan import no_container

    found = _containers(stage, patience, every=True, as_json=as_json)
    if not found:
        raise no_container(stage)
    return [client.ask(task, patience, container=each["container_id"], **arguments) for each in found]


def _split_stage(stage: str) -> tuple[str, str]:
    project, slash, name = stage.partition("/")
    if not (project and slash and name):
        raise _invalid("stage", f"{stage} is not of the form PROJECT/STAGE")
    return project, name


def _pairs(field: str, texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    for text in texts:
        if "=" not in text:
            raise _invalid(field, "write each as NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _port(text: str) -> tuple[str, int | str | None]:
    port, _, host_port = text.partition("=")
    if host_port and host_port != "keep" and not host_port.isdecimal():
        raise _invalid("ports", f"{text} is not of the form PORT[=HOST_PORT|keep]")
    return port if "/" in port else f"{port}/tcp", int(host_port) if host_port.isdecimal() else host_port or None


def _volume(text: str) -> tuple[str, dict[str, object]]:
    name, equals, place = text.partition("=")
    path, _, how = place.partition(":")
    if not equals or how not in {"", "exclusive"}:
        raise _invalid("volumes", f"{text} is not of the form NAME=PATH[:exclusive]")
    return name, {"path": path, "exclusive": how == "exclusive"}


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([kmg]?)b?", text.lower())
    if not found:
        raise _invalid("memory", f"{text} is not of the form 512m or 2g")
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[found[2]]


def _invalid(field: str, reason: str) -> SpecInvalid:
    return SpecInvalid(f"The arguments are wrong: {field}: {reason}.", {"fields": {field: reason}})
