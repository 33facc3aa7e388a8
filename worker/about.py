"""What a process of this code is: its versions, and what sets it apart from others of its installation."""

import platform
from importlib.metadata import version

DISTRIBUTION = "docker-watcher-worker"
CONTROL_COMMAND = "dw_about"
"""The remote control command that each worker process answers with what it is."""


def versions() -> dict[str, str]:
    """The versions of what can differ between two processes."""
    return {
        "version": version(DISTRIBUTION),
        "celery": version("celery"),
        "redis_py": version("redis"),
        "python": platform.python_version(),
    }
