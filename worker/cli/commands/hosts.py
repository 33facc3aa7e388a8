"""The engines that containers run on."""

from typing import Annotated

import typer

from worker.cli.arguments import (
    LOOK,
    OPERATE,
    Answer,
    HostName,
    Json,
    examples,
)

app = typer.Typer()


@app.command(rich_help_panel=OPERATE, epilog=examples("dw prune --dry-run", "dw prune --keep 5"))
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
        sized = [(name, short, megabytes(size)) for name, short, size in rows]
        show_table(("IMAGE", "ID", "SIZE"), sized, empty="every image is needed, or younger than DW_PRUNE_AGE")
        for name in pruned["containers"]:
            out().print(f"{'would remove' if dry_run else 'removed'} container {name}")
        out().print(f"{'would free' if dry_run else 'freed'} {megabytes(pruned['bytes_freed'])}")


@app.command("hosts", rich_help_panel=LOOK, epilog=examples("dw hosts", "dw hosts --json"))
def hosts_(as_json: Json = False) -> None:
    """Show the hosts: who is there, its engine, and what it has to do."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        host_commands.show(as_json=as_json)


@app.command(rich_help_panel=OPERATE, epilog=examples("dw drain two", "dw drain two --move", "dw drain two --end"))
def drain(
    host: HostName,
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


@app.command(rich_help_panel=OPERATE, epilog=examples("dw forget two"))
def forget(
    host: HostName,
    as_json: Json = False,
) -> None:
    """Forget a host that is gone for good, and end what it was at."""
    from worker.cli import hosts as host_commands
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        host_commands.forget(host, as_json=as_json)
