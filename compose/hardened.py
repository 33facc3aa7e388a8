"""The setting of docs/hardening.md: Redis with users and TLS, the engine by TLS, a worker that isn't root."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose import redis
from compose.errors import UnavailableError
from compose.process import MARK


@dataclass(frozen=True)
class Hardened:
    """What differs from the usual setting."""

    urls: Mapping[str, str]
    """The address of Redis by its users."""
    worker: Mapping[str, str]
    """The environment of a worker, which is to be started by `unprivileged.command`."""


@contextlib.contextmanager
def services(namespace: str) -> Iterator[Hardened]:
    """A Redis for this installation alone, and a private engine's other door."""
    engine, state = os.environ["DW_SERVICES_ENGINE_TLS"], Path(os.environ[MARK])
    if not engine:
        raise UnavailableError(
            "The hardened setting needs an engine of its own: run this as root on Debian, without DOCKER_HOST."
        )
    with redis.hardened(state, namespace) as urls:
        worker = {
            "DW_REDIS_URL": urls["worker"],
            "DOCKER_HOST": engine,
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(state / "engine-tls/client"),
            "HOME": "/nonexistent",
        }
        yield Hardened(urls, worker)
