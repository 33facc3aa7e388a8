"""Writes docs/dw.md from the commands' own help: `make reference`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command
from typer.models import Context

from worker.cli.app import app
from worker.results import DeploymentResult, ListedContainer

PAGE = Path(__file__).parent / "dw.md"
_STATE = ("container_id", "container_name")
OBJECTS: Mapping[str, Mapping[str, Any]] = {
    "deploy": dict.fromkeys(DeploymentResult.model_fields),
    "rollback": dict.fromkeys(DeploymentResult.model_fields),
    "deploy --no-wait": dict.fromkeys(("deployment_id", "state")),
    "cancel": dict.fromkeys(("deployment_id", "state")),
    "history": {
        "project": None,
        "stage": None,
        "deployments": (
            *("deployment_id", "action", "state", "step", "host", "image", "image_id", "digest", "container_id"),
            *("container_name", "began", "ended", "took", "seconds", "rollback_to", "superseded_by", "error"),
        ),
    },
    "ps": {"containers": tuple(ListedContainer.model_fields)},
    "logs": {"logs": (*_STATE, "lines")},
    "stop": {"stopped": (*_STATE, "exit_code")},
    "restart": {"restarted": (*_STATE, "ports", "started_at")},
    "rm": {"removed": _STATE},
    "hosts": {
        "hosts": (
            *("host", "state", "silent_for", "drained", "engine", "cpus", "containers", "under_way", "slots"),
            "free_disk",
        )
    },
    "drain": dict.fromkeys(("host", "drained", "moved", "stays")),
    "forget": dict.fromkeys(("host", "ended")),
    "prune": dict.fromkeys(("hosts", "dry_run", "images", "containers", "bytes_freed")),
    "seal": dict.fromkeys(("name", "sealed")),
    "rekey": dict.fromkeys(("credentials", "variables", "containers")),
    "credential add": dict.fromkeys(("name", "registry", "username")),
    "credential list": {"credentials": ("name", "registry", "username")},
    "credential rm": dict.fromkeys(("removed",)),
    "doctor": {"ok": None, "checks": ("check", "status", "message", "hint", "host")},
    "events": dict.fromkeys(
        ("time", "event", "worker", "task", "id", "deployment_id", "stage", "outcome", "seconds", "message")
    ),
}
"""The keys of what each command prints with --json, and of the objects in its lists."""

_BEGIN = """\
# The command line

<!-- Made by `make reference`: edit the commands' help, or docs/commands.py, not this page. -->

`dw` is a client of the workers, as any other: it puts tasks into the queue and shows what comes back. It needs Redis
(and the broker, where that is another one), and no engine. What it shows goes to standard output; errors, and what it
does meanwhile, to standard error.

## Start here

| you want to | |
|---|---|
| bring a version up, and see it happen | `dw deploy shop/staging acme/shop:1.4.2` |
| go back to the one before | `dw rollback shop/staging` |
| see what runs | `dw ps` |
| see what happened | `dw history shop/staging`, `dw logs shop/staging` |
| see what happens now | `dw events` |
| find out what is wrong | `dw doctor` |

## In a terminal

A deployment is drawn while it is under way: the steps that are done, the one that it is at, and what it waits for; of
a pull the bytes, the rate, and each layer. It is drawn for the width that the terminal has. Where standard error is
no terminal, or `TERM` is `dumb`, each step is a line instead.

Ctrl-C stops the watching, not the deployment: `dw` asks whether to cancel it, where somebody can answer. With
`--cancel-on-interrupt` it cancels without asking. `--no-wait` prints the deployment's id and doesn't watch at all.

## Exit status

| status | means |
|---|---|
| 0 | what was asked for has happened; with `--no-wait`: it was sent. `dw events` ends with it at Ctrl-C |
| 1 | it has not happened: an [error](errors.md), no answer, a check of `dw doctor` that fails |
| 2 | the command line is wrong |
| 130 | Ctrl-C; a deployment that was watched goes on unless it says that it was cancelled |

## Environment

All [settings](settings.md) are read from variables with the prefix `DW_`, or from a file `.env`. `dw` needs few of
them:

| variable | for |
|---|---|
| `DW_REDIS_URL`, `DW_BROKER_URL`, `DW_RESULT_BACKEND` | where the workers' Redis and broker are |
| `DW_NAMESPACE` | which installation |
| `DW_KEYS`, `DW_KEYS_FILE` | `dw seal`, `dw credential add`, `dw rekey`: sealing happens here |
| `DW_PRODUCER`, `DW_SIGNING_KEY_FILE` | signing, where workers demand it |
| `NO_COLOR`, `CLICOLOR=0` | no colours |
| `FORCE_COLOR`, `CLICOLOR_FORCE=1` | colours in a pipe or file too |

With a Redis user of few rights each command does what that user may. What Redis denies is said in the error; which
rights an operator and a producer need is in `compose/redis.acl`.

## Completion

```console
$ dw --install-completion bash
```

`zsh` and `fish` likewise; `dw --show-completion bash` prints it instead. Beside commands and options, it completes
stages, hosts, credentials, the deployments that can be cancelled, and those that a stage can be rolled back to. The
names come from Redis, within three seconds; where it can't be had, none are offered and nothing is said.

## JSON

With `--json` each command prints one object, in one line, on standard output; `dw events` prints one for each event.
Keys stay: new ones may come. An error is an object as well, whatever the command: `{"error": {"type", "message",
"facts", "hint"}}`. Its type is one of [the contract's](errors.md), or `Unanswered` (no worker or Redis has answered),
`SettingsInvalid`, `UsageWrong`.

| command | keys | of each in the list |
|---|---|---|
"""
_DOCTOR = """
`dw stop`, `restart`, `rm` and `rollback` with `--no-wait` print what `deploy --no-wait` does. A check of `dw doctor`
has a `status` of `ok`, `warn` or `fail`, and a `hint` that says what to do unless its message does. The checks are
`redis`, `redis-version`, `redis-role`, `persistence`, `memory`, `rights`, `clock`, `workers`, `versions`, `hosts`,
`host`, `engine`, `disk`, `network`, `answers`, `queues`, `keys`, `credentials` and `deployments`; one that nothing
can be told of is left out.

## Commands

"""


def page() -> str:
    """The whole page."""
    rows = "".join(_row(command, keys) for command, keys in OBJECTS.items())
    return f"{_BEGIN}{rows}{_DOCTOR}{_commands()}"


def _row(command: str, keys: Mapping[str, Sequence[str] | None]) -> str:
    each = "; ".join(", ".join(f"`{key}`" for key in inner) for inner in keys.values() if inner)
    return f"| `dw {command}` | {', '.join(f'`{key}`' for key in keys)} | {each} |\n"


def _commands() -> str:
    command = get_command(app)
    if not isinstance(command, TyperGroup):
        raise TypeError("`dw` has commands")
    context = Context(command, info_name="dw")
    parts = []
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None:
            parts.append(get_docs_for_click(obj=found, ctx=context, indent=2, name=name, call_prefix="dw"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_with_examples(each) for each in parts)).rstrip() + "\n"


def _with_examples(text: str) -> str:
    """The examples as what they are, in a block of their own."""
    text = re.sub(
        r"Examples:\n\n((?:\$ .*\n+)+)",
        lambda found: "**Examples**:\n\n```console\n" + re.sub(r"\n+", "\n", found[1]).strip() + "\n```\n\n",
        text,
    )
    return re.sub(r"\* `(--help)`: Show this message and exit\.\n", "", text)


if __name__ == "__main__":
    PAGE.write_text(page())
