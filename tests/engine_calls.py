"""The list of the calls that the engine is asked for: `compose/engine-proxy.conf` is its home."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "compose" / "engine-proxy.conf"
TABLE = REPOSITORY / "docs" / "engine-calls.md"


def patterns():
    """Of requests that the proxy lets through, as in `GET /v1.41/version`."""
    return re.findall(r'^ +"~(\^.+\$)" 1;$', CONFIG.read_text(), re.MULTILINE)


def described():
    """The calls of the first table, as in `GET /containers/{container}/json`."""
    return re.findall(r"^\| `([A-Z]+ /[^`]+)` \| \S", TABLE.read_text().partition("\n## ")[0], re.MULTILINE)
