"""What a process of this code is: its versions, and what sets it apart from others of its installation."""

import platform
from importlib.metadata import PackageNotFoundError, version

_DISTRIBUTION = "docker-watcher-worker"
CONTROL_COMMAND = "dw_about"
"""The remote control command that each worker process answers with what it is."""


def own_version() -> str:
    """The version of this code; `unknown` where it runs from a folder, without having been installed."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """The versions of what can differ between two processes."""
    return {
        "version": own_version(),
        "celery": version("celery"),
        "redis_py": version("redis"),
        "python": platform.python_version(),
    }
