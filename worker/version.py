"""What a worker must know to read a record or a message: `docs/upgrading.md` has the rules.

While workers are replaced, an older and a newer version of this code are at one queue. What only the newer can do right
says so by a number, and is left to it.
"""

from collections.abc import Iterable, Mapping

VERSION = 1
"""What this code can read. One more whenever something is added to one of the tables below."""

ARGUMENTS_SINCE: Mapping[str, int] = {}
"""The version that each argument of a deployment, or of an order to a stage, came with, where that isn't the first."""
STEPS_SINCE: Mapping[str, int] = {}
"""The same of steps."""


def needed(arguments: Iterable[str] = (), step: str = "") -> int:
    """The least version that does these arguments and this step right."""
    return max(1, STEPS_SINCE.get(step, 1), *(ARGUMENTS_SINCE.get(each, 1) for each in arguments))
