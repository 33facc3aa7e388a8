"""What `dw credential` and `dw seal` read before anything is sealed."""

import sys
from typing import Annotated

import typer
from pydantic import Field

from worker import settings
from worker.spec import Arguments, Registry


class CredentialArguments(Arguments):
    """What is checked before a password is asked for."""

    name: settings.Name
    registry: Registry
    username: Annotated[str, Field(min_length=1)]


def read_secret(prompt: str) -> str:
    """Read a secret from a prompt that doesn't show it, or from standard input, less one line's end."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    return sys.stdin.read().removesuffix("\n")
