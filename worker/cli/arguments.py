"""Arguments that several commands have, and what people write read as the tasks want it."""

import re
from typing import Annotated

import typer

from worker.cli import completion
from worker.errors import SpecInvalid

DEPLOY, LOOK, OPERATE, SECRETS = "Deploy", "Look", "Operate", "Secrets"
"""The groups of commands, in the order that help has them."""

Stage = Annotated[str, typer.Argument(metavar="PROJECT/STAGE", show_default=False, autocompletion=completion.stages)]
OptionalStage = Annotated[
    str | None, typer.Argument(metavar="[PROJECT/STAGE]", show_default=False, autocompletion=completion.stages)
]
HostName = Annotated[str, typer.Argument(metavar="HOST", show_default=False, autocompletion=completion.hosts)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; errors too.")]
Answer = Annotated[float, typer.Option("--answer-timeout", help="Seconds to wait for a worker's answer.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only send it and print its id.")]
StopTimeout = Annotated[int | None, typer.Option("--timeout", help="Seconds until the engine kills it.")]
CancelOnInterrupt = Annotated[
    bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the deployment without asking.")
]


def examples(*lines: str) -> str:
    """What stands below a command's help."""
    return "\n\n".join(["Examples:", *(f"$ {each}" for each in lines)])


def split_stage(stage: str) -> tuple[str, str]:
    """Project and stage of what is written PROJECT/STAGE.

    Raises SpecInvalid.
    """
    project, slash, name = stage.partition("/")
    if not (project and slash and name):
        raise invalid("stage", f"{stage} is not of the form PROJECT/STAGE")
    return project, name


def pairs(field: str, texts: list[str] | None) -> dict[str, str] | None:
    """What is written NAME=VALUE, several times.

    Raises SpecInvalid.
    """
    if not texts:
        return None
    for text in texts:
        if "=" not in text:
            raise invalid(field, "write each as NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def port_of(text: str) -> tuple[str, int | str | None]:
    """A port and its host port, as `--port` has them.

    Raises SpecInvalid.
    """
    port, _, host_port = text.partition("=")
    if host_port and host_port != "keep" and not host_port.isdecimal():
        raise invalid("ports", f"{text} is not of the form PORT[=HOST_PORT|keep]")
    return port if "/" in port else f"{port}/tcp", int(host_port) if host_port.isdecimal() else host_port or None


def volume_of(text: str) -> tuple[str, dict[str, object]]:
    """A volume's name, and where and how it is mounted, as `--volume` has it.

    Raises SpecInvalid.
    """
    name, equals, place = text.partition("=")
    path, _, how = place.partition(":")
    if not equals or how not in {"", "exclusive"}:
        raise invalid("volumes", f"{text} is not of the form NAME=PATH[:exclusive]")
    return name, {"path": path, "exclusive": how == "exclusive"}


def bytes_of(text: str) -> int:
    """A number of bytes, as `--memory` has it.

    Raises SpecInvalid.
    """
    found = re.fullmatch(r"([0-9]+)([kmg]?)b?", text.lower())
    if not found:
        raise invalid("memory", f"{text} is not of the form 512m or 2g")
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[found[2]]


def invalid(field: str, reason: str) -> SpecInvalid:
    """The error that says which argument is wrong, and why."""
    return SpecInvalid(f"The arguments are wrong: {field}: {reason}.", {"fields": {field: reason}})
