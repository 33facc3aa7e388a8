"""The Docker engine: the one that is given, or a private one in the run's folder; with ENGINE=podman a Podman."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.auth import AuthConfig
from docker.errors import DockerException
from docker.utils import kwargs_from_env

from compose import jobimage, packages, podman, release, unprivileged
from compose.certificates import Authority
from compose.errors import UnavailableError
from compose.ports import free_port
from compose.process import Daemon

Client = docker.APIClient

PODMAN = "podman"

STANDARD_SOCKET = Path("/var/run/docker.sock")
#: Linux' limit for a socket's path, and the longest that the engine makes below its --exec-root.
SOCKET_PATH_LIMIT = 107
LONGEST_SOCKET = "x/containerd/containerd.sock.ttrpc"


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    host: str
    version: str
    private: bool
    started: bool = False
    """Whether this run did, on this machine."""
    tls_host: str = ""
    """Where a private one speaks TLS, to those who have the certificate in `engine-tls/client`."""

    def client(self) -> docker.APIClient:
        """A client for it."""
        return connect(self.host)


def connect(host: str) -> docker.APIClient:
    """A client for the engine at this address; it never uses the logins of whoever runs this."""
    settings = kwargs_from_env({**os.environ, "DOCKER_HOST": host})
    client = docker.APIClient(**settings, version="auto", timeout=60)
    vars(client)["_auth_configs"] = AuthConfig({})
    return client


def given() -> Engine | None:
    """The engine of DOCKER_HOST, or of the standard socket; none where neither is there."""
    named = os.environ.get("DOCKER_HOST")
    host = named or f"unix://{STANDARD_SOCKET}"
    if not named and not STANDARD_SOCKET.exists():
        return None
    try:
        with contextlib.closing(connect(host)) as client:
            engine = Engine(host, client.version()["Version"], private=False)
    except (DockerException, requests.RequestException) as error:
        if "Permission denied" in str(error):
            raise UnavailableError(
                f"You may not use the engine at {host}: join its group (usually: adduser $USER docker, "
                "then log in again), or set DOCKER_HOST."
            ) from error
        if named:
            raise UnavailableError(f"No engine answers at DOCKER_HOST={host}: {error}") from error
        return None
    wanted = os.environ.get("ENGINE")
    if wanted and not release.matches(engine.version, wanted):
        raise UnavailableError(
            f"ENGINE={wanted} is asked for, but the engine at {host} is {engine.version}: leave one of the two out."
        )
    return engine


def prepare(state: Path) -> Path | None:
    """Get the programs of a private engine; return the folder that holds them where it isn't the system's."""
    if not packages.is_root():
        raise UnavailableError("No engine answers: start Docker, or run as root on Debian.")
    wanted = os.environ.get("ENGINE")
    if wanted == PODMAN:
        podman.prepare()
        return None
    _check_length(state)
    programs = ["dockerd", "iptables"]
    absent = packages.missing([*programs, "docker-registry", "htpasswd"])
    if absent and not packages.is_debian():
        raise UnavailableError(
            f"{' and '.join(absent)} not found, and only Debian's packages can be installed from here: "
            "start Docker, or set DOCKER_HOST."
        )
    packages.ensure(programs)
    return release.programs(wanted, state.parent / "engines") if wanted else None


def _check_length(state: Path) -> None:
    longest = state / LONGEST_SOCKET
    excess = len(os.fsencode(longest)) - SOCKET_PATH_LIMIT
    if excess > 0:
        raise UnavailableError(
            f"The path of this clone is {excess} characters too long for the engine's sockets "
            f"({longest}): move it, or set DOCKER_HOST."
        )


@contextlib.contextmanager
def private(state: Path, programs: Path | None) -> Iterator[Engine]:
    """A private engine with nothing on it; at the end it and all its containers are gone."""
    if os.environ.get("ENGINE") == PODMAN:
        with _podman(state) as engine:
            yield engine
        return
    data = state / f"engine-{programs.name if programs else 'system'}"
    host, tls_host = f"unix://{state / 'docker.sock'}", f"tcp://127.0.0.1:{free_port()}"
    daemon = _daemon(state, programs, data, [f"--host={host}", f"--host={tls_host}", *_tls(state / "engine-tls")])
    try:
        _start(daemon, host, state, data)
        with contextlib.closing(connect(host)) as client:
            empty(client)
            engine = Engine(host, client.version()["Version"], private=True, started=True, tls_host=tls_host)
        yield engine
        with (
            contextlib.suppress(DockerException, requests.RequestException),
            contextlib.closing(connect(host)) as client,
        ):
            empty(client)
    finally:
        daemon.stop()


@contextlib.contextmanager
def _podman(state: Path) -> Iterator[Engine]:
    with podman.running(state) as (daemon, host):
        daemon.wait_until(lambda: _answers(host), 60)
        with contextlib.closing(connect(host)) as client:
            # Not private in what that promises: TLS, and a program that tests start a second one of.
            yield Engine(host, f"podman {client.version()['Version']}", private=False, started=True)
            empty(client)


def _tls(folder: Path) -> list[str]:
    authority = Authority.new(folder)
    # Root can read it anyway; and a worker that isn't root is to.
    os.chown(authority.issue("client") / "key.pem", unprivileged.USER, unprivileged.USER)
    server = authority.issue("server")
    files = {"tlscacert": authority.ca, "tlscert": server / "cert.pem", "tlskey": server / "key.pem"}
    return ["--tlsverify", *(f"--{option}={path}" for option, path in files.items())]


def _daemon(state: Path, programs: Path | None, data: Path, listening: list[str]) -> Daemon:
    (state / "dockerd.json").write_text("{}")  # else the system's own /etc/docker/daemon.json is read
    argv = [
        "dockerd",
        f"--config-file={state / 'dockerd.json'}",
        *listening,
        f"--data-root={data}",
        f"--exec-root={state / 'x'}",
        f"--pidfile={state / 'dockerd.pid'}",
        "--group=root",
    ]
    path = os.environ["PATH"]
    if programs:
        argv[0] = str(programs / "usr/sbin/dockerd")
        path = f"{programs / 'usr/sbin'}:{programs / 'usr/bin'}:{path}"
    return Daemon("dockerd", argv, state, {"PATH": path})


def _start(daemon: Daemon, host: str, state: Path, data: Path) -> None:
    """Start it; with what it knew before, unless that is what it fails on."""
    try:
        _start_once(daemon, host, state)
    except UnavailableError:
        if not data.exists():
            raise
        daemon.stop()
        shutil.rmtree(data, ignore_errors=True)
        _start_once(daemon, host, state)


def _start_once(daemon: Daemon, host: str, state: Path) -> None:
    """Start it. After a kill -9 its pid files and sockets are still there, and it would refuse them."""
    (state / "dockerd.pid").unlink(missing_ok=True)
    (state / "docker.sock").unlink(missing_ok=True)
    shutil.rmtree(state / "x", ignore_errors=True)
    daemon.start()
    daemon.wait_until(lambda: _answers(host), 60)


def _answers(host: str) -> bool:
    try:
        with contextlib.closing(connect(host)) as client:
            return bool(client.ping())
    except (DockerException, requests.RequestException):
        return False


def empty(client: docker.APIClient) -> None:
    """Remove what former runs left on a private engine: containers, networks, volumes and job images."""
    for container in client.containers(all=True):
        with contextlib.suppress(DockerException):
            client.remove_container(container["Id"], force=True, v=True)
    client.prune_networks()  # type: ignore[no-untyped-call]
    client.prune_volumes()
    jobimage.remove_all(client)
    client.prune_images()  # type: ignore[no-untyped-call]
