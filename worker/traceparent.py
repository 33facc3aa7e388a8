"""The context of a trace as messages and environments carry it (W3C Trace Context)."""

import os
import re

HEADER = "traceparent"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def context_of(header: object) -> str | None:
    """What a message's header says, if that is a trace's context; any other is as good as none."""
    return header if isinstance(header, str) and _FORM.fullmatch(header) else None


def own_context() -> str | None:
    """The trace that this process is in, as pipelines tell the commands that they run (`TRACEPARENT`)."""
    return context_of(os.environ.get("TRACEPARENT"))
