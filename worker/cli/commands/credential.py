"""`dw credential`: registry credentials, sealed before they leave this process."""

import sys
from typing import Annotated

import typer

from worker.cli import completion
from worker.cli.arguments import (
    examples,
)
from worker.errors import CredentialMissing, SpecInvalid

app = typer.Typer(help="The stored credentials of registries.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(show_default=False)]
Known = Annotated[str, typer.Argument(show_default=False, autocompletion=completion.credentials)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(
    epilog=examples(
        "dw credential add hub --registry docker.io --username me",
        "dw credential add ours --registry 127.0.0.1:5000 --username ci --password-stdin < password.txt",
    )
)
def add(
    name: Name,
    registry: Annotated[str, typer.Option(help="The registry's host, with its port.")],
    username: Annotated[str, typer.Option()],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, not a prompt.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Store a credential, in place of any other of its name."""
    from worker.cli.login import CredentialArguments, read_secret
    from worker.cli.output import errors_shown, out, show_json
    from worker.keyring import keyring
    from worker.spec import parse
    from worker.store import Credential, credentials

    with errors_shown(as_json=as_json):
        given = {"name": name, "registry": registry, "username": username}
        asked = parse(CredentialArguments, "dw credential add", given)
        if not password_stdin and not sys.stdin.isatty():
            raise SpecInvalid("The password is not read from a pipe unless you say --password-stdin.")
        sealed = Credential.seal(keyring(), asked.name, asked.registry, asked.username, read_secret("Password"))
        credentials().add(sealed)
        if as_json:
            show_json(asked.model_dump())
        else:
            out().print(f"stored {asked.name}: {asked.username} at {asked.registry}")


@app.command("list", epilog=examples("dw credential list"))
def list_(as_json: Json = False) -> None:
    """List the stored credentials, without their passwords."""
    from worker.cli.output import errors_shown, show_json, show_table
    from worker.store import credentials

    with errors_shown(as_json=as_json):
        stored = credentials().list()
        if as_json:
            described = [{"name": each.name, "registry": each.registry, "username": each.username} for each in stored]
            show_json({"credentials": described})
        else:
            show_table(
                ("NAME", "REGISTRY", "USERNAME"),
                [(each.name, each.registry, each.username) for each in stored],
                empty="none is stored; `dw credential add` stores one",
            )


@app.command(epilog=examples("dw credential rm hub"))
def rm(name: Known, as_json: Json = False) -> None:
    """Forget a credential."""
    from worker.cli.output import errors_shown, out, show_json
    from worker.store import credentials

    with errors_shown(as_json=as_json):
        if not credentials().remove(name):
            raise CredentialMissing(f"There is no stored credential {name}: see `dw credential list`.")
        show_json({"removed": name}) if as_json else out().print(f"removed {name}")
