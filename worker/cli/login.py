"""What `dw credential` and `dw seal` read before anything is sealed."""

import sys
from typing import Annotated

import typer
from pydantic import Field

from worker import settings
from worker.errors import SpecInvalid
from worker.spec import Arguments, Registry, StageArguments, VariableName


class CredentialArguments(Arguments):
    """What is checked before a password is asked for."""

    name: settings.Name
    registry: Registry
    username: Annotated[str, Field(min_length=1)]


class SealArguments(StageArguments):
    """The same of a variable: under another name than a container's may have it would open nowhere."""

    name: VariableName


def read_secret(prompt: str) -> str:
    """Read a secret from a prompt that doesn't show it, or from standard input, less one line's end.

    Raises SpecInvalid where it is empty.
    """
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    secret = sys.stdin.read().removesuffix("\n")
    if not secret:
        raise SpecInvalid("Nothing was sealed: standard input is empty.")
    return secret
