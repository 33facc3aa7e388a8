"""`docs/errors.md`: what each error means and what to do, from the code; and a screen of it, as it was captured."""

import re
from pathlib import Path

from worker import errors
from worker.cli.hints import HINTS

PAGE = Path(__file__).parents[2] / "docs/errors.md"
_INTRODUCTION = """\
# Errors

<!-- Made by `make screens`: words of worker/errors.py and worker/cli/hints.py, screens as captured. -->

A task that fails ends with one of these types. Its message is one sentence: what failed, on which image or container,
and what to do. Its `facts` hold the same for programs, and say in `retryable` whether a later try can succeed.

`dw` prints the type and the sentence on standard error, then the last lines that the container wrote, and behind `->`
what to do next. With `--json` all of it is one object: see [the command line](dw.md#json).

A failed deployment never costs the version that served: what it made is removed, and what it had stopped runs again.

Each screen below is of a real failure, on a terminal of 100 columns. Hosts, ports and ids are others where you are.
"""
_BY_ITSELF = (
    "Yes: something has to come back first. The worker has tried again by itself, four times with growing pauses, "
    "before it says so."
)
_NEVER = "No: the same fails again until somebody has changed something."
_ODD = {
    "CutoverFailed": "Where the hook is away or overloaded (no answer, 429, 5xx), the worker has tried again itself, "
    "and a later try can help. Any other answer is the hook's word that it doesn't agree.",
    "DeploymentCancelled": "It is no failure: somebody asked for it.",
    "DeploymentSuperseded": "It is no failure: a newer deployment of the same stage took its place.",
    "DeadlineExceeded": "Only with more time, or once what took so long is mended.",
}


KINDS = {each.__name__: each for each in errors.KINDS}


def words(kind):
    """What the page says of an error, above its screen."""
    known = KINDS[kind]
    retry = _ODD.get(kind) or (_BY_ITSELF if known.is_transient else _NEVER)
    to_do = HINTS[kind].removeprefix("{used}; ").replace("{credential}", "NAME").replace("of {host}", "of each host")
    to_do = re.sub(r"\{(\w+)\}", lambda found: "PROJECT/STAGE" if found[1] == "stage" else found[1].upper(), to_do)
    meaning = " ".join((known.__doc__ or "").split())
    return f"## {kind}\n\n{meaning}\n\n*Can a retry help?* {retry}\n\n*What to do:* {to_do}.\n"


def page(screens):
    """The whole page, with what was captured of each: a command, and lines."""
    parts = [_INTRODUCTION]
    for kind, (command, lines) in screens.items():
        shown = "\n".join(line.rstrip() for line in lines)
        parts.append(f"{words(kind)}\n```text\n$ {command}\n{shown}\n```\n")
    return "\n".join(parts)
