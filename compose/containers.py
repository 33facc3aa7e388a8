"""Services as containers on a given engine: where their programs are missing and cannot be installed."""

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from compose.errors import UnavailableError

#: Says which run's folder a container is of, so that a later run can remove what a killed one left.
LABEL = "docker-watcher.services.state"


@dataclass(frozen=True)
class Service:
    """What to run."""

    name: str
    image: str
    port: int
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def running(client: docker.APIClient, service: Service, state: Path) -> Iterator[str]:
    """One service on a random port of 127.0.0.1, which is returned as host:port; removed at the end."""
    container = None
    try:
        pull_missing(client, service.image)
        container = client.create_container(
            service.image,
            command=list(service.command) or None,
            environment=dict(service.environment),
            ports=[service.port],
            labels={LABEL: str(state)},
            host_config=client.create_host_config(port_bindings={service.port: ("127.0.0.1",)}),
        )["Id"]
        if service.files:
            client.put_archive(container, "/", _archive(service.files))
        client.start(container)
        yield f"127.0.0.1:{_port(client, container, service.port)}"
    except DockerException as error:
        raise UnavailableError(f"{service.name} could not be run from {service.image}: {error}") from error
    finally:
        if container:
            _remove(client, container)


def run_once(client: docker.APIClient, image: str, command: Sequence[str], state: Path) -> str:
    """The output of a short command in a container."""
    pull_missing(client, image)
    container = client.create_container(image, command=list(command), labels={LABEL: str(state)})["Id"]
    try:
        client.start(container)
        client.wait(container, timeout=60)
        output: bytes = client.logs(container, stdout=True, stderr=False)
        return output.decode()
    finally:
        _remove(client, container)


def remove_leftovers(client: docker.APIClient, state: Path) -> None:
    """Remove what a killed run of this folder left on the engine."""
    for container in client.containers(all=True, filters={"label": f"{LABEL}={state}"}):
        _remove(client, container["Id"])


def wait_until(answers: Callable[[], bool], name: str, seconds: float = 30) -> None:
    """Wait until a service answers."""
    deadline = time.monotonic() + seconds
    while not answers():
        if time.monotonic() > deadline:
            raise UnavailableError(f"{name} does not answer after {seconds:.0f} s: is the engine on this machine?")
        time.sleep(0.1)


def pull_missing(client: docker.APIClient, image: str) -> None:
    """Pull a public image unless the engine has it."""
    with contextlib.suppress(ImageNotFound):
        client.inspect_image(image)  # type: ignore[no-untyped-call]
        return
    repository, _, tag = image.partition(":")
    for line in client.pull(repository, tag=tag, auth_config={}, stream=True, decode=True):
        if "error" in line:
            raise UnavailableError(f"{image} cannot be pulled: {line['error']}")


def _port(client: docker.APIClient, container: str, port: int) -> str:
    bindings: dict[str, Any] = client.inspect_container(container)["NetworkSettings"]["Ports"]
    return str(bindings[f"{port}/tcp"][0]["HostPort"])


def _remove(client: docker.APIClient, container: str) -> None:
    with contextlib.suppress(APIError):
        client.remove_container(container, force=True, v=True)


def _archive(files: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size = len(text.encode())
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()
