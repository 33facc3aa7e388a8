"""What is going on, and what is wrong."""

from typing import Annotated

import typer

from worker.cli.arguments import (
    LOOK,
    OPERATE,
    Json,
    OptionalStage,
    examples,
    split_stage,
)

app = typer.Typer()


@app.command(rich_help_panel=OPERATE, epilog=examples("dw doctor", "dw doctor --json"))
def doctor(
    as_json: Json = False,
    answer_timeout: Annotated[float, typer.Option(help="Seconds to wait for each host's answer.")] = 5,
) -> None:
    """Look at Redis, workers, hosts, engines, keys, queues and deployments, and say what to do."""
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        from worker.cli import doctor as examination

        examination.run(answer_timeout, as_json=as_json)


@app.command("events", rich_help_panel=LOOK, epilog=examples("dw events", "dw events shop/staging", "dw events --json"))
def events_(stage: OptionalStage = None, as_json: Json = False) -> None:
    """Show what all workers do, as it happens, until Ctrl-C."""
    from worker.cli.output import errors_shown

    with errors_shown(as_json=as_json):
        from worker.cli import events

        events.run("/".join(split_stage(stage)) if stage else None, as_json=as_json)
