"""One connection pool to one engine, shared by all threads of a process (R1, R17)."""

import os
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from docker.errors import TLSParameterError
from docker.utils import kwargs_from_env

from worker.engine.connection import EngineApi
from worker.engine.container import Containers
from worker.engine.errors import engine_errors
from worker.engine.image import Images
from worker.engine.network import Networks
from worker.errors import EngineUnavailable
from worker.labels import Labels
from worker.settings import settings


@dataclass(frozen=True)
class Capacity:
    """What an engine has to run containers on."""

    version: str
    cpus: int
    running: int
    """Containers, of whomever."""
    folder: str
    """Where it keeps images and containers, on its host."""


class Engine:
    """A Docker Engine: its images, containers and networks.

    `host` is as `DOCKER_HOST` has it; None takes that variable, or the standard socket.
    `timeout` bounds each call in all, in seconds. `connections` is how many are kept open. No answer may have more
    than 16 MiB (`LONGEST_ANSWER`).
    The API version is the newest that the engine speaks (`GET /version`): a fixed one is sooner or later
    too old for the engine or too new.
    """

    def __init__(self, *, labels: Labels, host: str | None = None, timeout: int = 60, connections: int = 8) -> None:
        environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
        try:
            address = kwargs_from_env(environment=environment)
        except TLSParameterError as error:
            raise EngineUnavailable(
                "Connecting to the engine failed: ca.pem, cert.pem or key.pem can't be read; set DOCKER_CERT_PATH to "
                "the folder that has them.",
                {"step": "connect"},
            ) from error
        with engine_errors("connect"):
            self._api = EngineApi(**address, version="auto", timeout=timeout, max_pool_size=connections)
        self.images = Images(self._api)
        self.networks = Networks(self._api, labels)
        self.containers = Containers(self._api, labels)

    def version(self) -> str:
        """The engine's version, as in `20.10.24`."""
        with engine_errors("connect"):
            return str(self._api.version()["Version"])

    def capacity(self) -> Capacity:
        """What the engine has to run containers on (`GET /info`).

        Raises EngineUnavailable.
        """
        with engine_errors("connect"):
            told = self._api.info()
            return Capacity(
                version=str(told["ServerVersion"]),
                cpus=int(told["NCPU"]),
                running=int(told["ContainersRunning"]),
                folder=str(told["DockerRootDir"]),
            )

    def platform(self) -> str:
        """What its host's programs are made for, as in `linux/amd64`."""
        with engine_errors("connect"):
            version = self._api.version()
            return f"{version['Os']}/{version['Arch']}"

    def close(self) -> None:
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Shared:
    """The engine of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def get(self) -> Engine:
        return self._engine or self._keep(_connected())

    def _keep(self, connected: Engine) -> Engine:
        # Threads that ask at once each connect: with an engine that hangs, none waits for another's timeout first.
        with self._lock:
            kept = self._engine = self._engine or connected
        if kept is not connected:
            connected.close()
        return kept

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None


def _connected() -> Engine:
    values = settings()
    return Engine(
        labels=Labels(values.label_prefix, values.namespace),
        timeout=values.engine_timeout,
        connections=values.threads,
    )


_shared = _Shared()


def engine() -> Engine:
    """The engine of this process' settings, connected to at first use.

    Raises EngineUnavailable; the next call tries again.
    """
    return _shared.get()


def close_engine() -> None:
    """Close the connections of `engine()`, if it was ever used."""
    _shared.close()
