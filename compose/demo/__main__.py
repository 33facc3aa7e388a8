"""Run the demo; the status says whether every check passed.

`--hardened` plays it in the setting of docs/hardening.md.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType

from cryptography.fernet import Fernet
from rich.console import Console

from compose import engine, redis, unprivileged
from compose.demo.scene import DemoError, Scene
from compose.demo.story import tell
from compose.errors import UnavailableError
from compose.hardened import services
from compose.jobimage import JobImageError

#: Of the caller's own settings only these are kept: the demo's must not depend on the others.
KEPT = ("DW_SERVICES_",)


def main() -> int:
    """Tell the story, tidy up, sum up."""
    if "DW_SERVICES_REGISTRY" not in os.environ:
        print("demo: it needs its services: make demo", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    started = time.monotonic()
    scene = prepare()
    try:
        with hardened(scene) if "--hardened" in sys.argv else contextlib.nullcontext():
            tell(scene)
    except (DemoError, JobImageError, UnavailableError, subprocess.TimeoutExpired) as error:
        scene.check(str(error), passed=False)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        scene.tidy()
    return scene.summarise(time.monotonic() - started)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def prepare() -> Scene:
    """Settings that meet nobody else's, on a given engine or Redis either."""
    namespace = f"demo-{secrets.token_hex(3)}"
    registry = os.environ["DW_SERVICES_REGISTRY"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("DW_") or key.startswith(KEPT)}
    database = redis.spare_database(os.environ["DW_REDIS_URL"])
    env |= {
        "DW_REDIS_URL": database,
        "DW_NAMESPACE": namespace,
        "DW_NETWORK": namespace,
        "DW_HOST": namespace,
        "DW_KEYS": Fernet.generate_key().decode(),
        "DW_ALLOWED_IMAGES": f"{registry}/acme/*",
    }
    client = engine.connect(os.environ["DOCKER_HOST"])
    return Scene(Console(highlight=False), env, namespace, database, client, f"{registry}/acme/hello")


@contextlib.contextmanager
def hardened(scene: Scene) -> Iterator[None]:
    """Let `dw` be Redis' operator, and the worker its worker, by TLS; and that one a user without rights."""
    with services(scene.namespace) as setting:
        scene.env["DW_REDIS_URL"] = setting.urls["operator"]
        scene.worker_env = setting.worker
        scene.worker_command = unprivileged.command
        yield


if __name__ == "__main__":
    sys.exit(main())
