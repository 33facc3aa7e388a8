"""Keys and what is sealed with them."""

import typer

from worker.cli.arguments import (
    SECRETS,
    Answer,
    Json,
    Stage,
    examples,
    split_stage,
)

app = typer.Typer()


@app.command(
    rich_help_panel=SECRETS,
    epilog=examples("dw seal shop/staging DATABASE_PASSWORD", "dw seal shop/staging DATABASE_PASSWORD < password.txt"),
)
def seal(stage: Stage, name: str, as_json: Json = False) -> None:
    """Seal a secret variable of a stage: reads the value from a prompt or standard input, prints it sealed."""
    from worker.cli.login import SealArguments, read_secret
    from worker.cli.output import errors_shown, show_json
    from worker.keyring import keyring, variable_purpose
    from worker.spec import parse

    with errors_shown(as_json=as_json):
        project, stage_name = split_stage(stage)
        parse(SealArguments, "dw seal", {"project": project, "stage": stage_name, "name": name})
        sealed = keyring().seal(read_secret("Value"), variable_purpose(project, stage_name, name))
        show_json({"name": name, "sealed": sealed}) if as_json else typer.echo(sealed)


@app.command(rich_help_panel=SECRETS, epilog=examples("dw rekey"))
def rekey(as_json: Json = False, answer_timeout: Answer = 10) -> None:
    """Seal all that is stored anew with the first of DW_KEYS; run it again before the others are dropped.

    Give the new key to all workers first. Sealed values that you keep yourself are yours to seal anew.
    """
    from worker.cli import rekey as rekeying

    rekeying.run(answer_timeout, as_json=as_json)
