"""`dw credential`: registry credentials, sealed before they leave this process."""

import sys
from typing import Annotated

import typer

from worker.cli.output import errors_shown, out, show_json, show_table
from worker.errors import CredentialMissing, SpecInvalid
from worker.keyring import keyring
from worker.store import Credential, credentials

app = typer.Typer(help="The stored credentials of registries.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
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
    with errors_shown(as_json=as_json):
        if not password_stdin and not sys.stdin.isatty():
            raise SpecInvalid("The password is not read from a pipe unless you say --password-stdin.")
        password = read_secret("Password")
        credentials().add(Credential.seal(keyring(), name, registry, username, password))
        if as_json:
            show_json({"name": name, "registry": registry, "username": username})
        else:
            out.print(f"stored {name}: {username} at {registry}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the stored credentials, without their passwords."""
    with errors_shown(as_json=as_json):
        stored = credentials().list()
        if as_json:
            described = [{"name": each.name, "registry": each.registry, "username": each.username} for each in stored]
            show_json({"credentials": described})
        else:
            show_table(
                ("NAME", "REGISTRY", "USERNAME"),
                [(each.name, each.registry, each.username) for each in stored],
            )


@app.command()
def rm(name: Name, as_json: Json = False) -> None:
    """Forget a credential."""
    with errors_shown(as_json=as_json):
        if not credentials().remove(name):
            raise CredentialMissing(f"There is no stored credential {name}: see `dw credential list`.")
        show_json({"removed": name}) if as_json else out.print(f"removed {name}")


def read_secret(prompt: str) -> str:
    """Read a secret from a prompt that doesn't show it, or from standard input, less one line's end."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    return sys.stdin.read().removesuffix("\n")
