"""The Lua scripts, each of which makes one change to records whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

_FOLDER = Path(__file__).parent


def scripts(connection: redis.Redis) -> dict[str, Callable[..., Any]]:
    """All of them by name, to be called with `keys` and `args`."""
    common = (_FOLDER / "common.lua").read_text()
    return {path.stem: connection.register_script(common + path.read_text()) for path in _FOLDER.glob("*.lua")}
