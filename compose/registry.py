"""A registry with a password, on 127.0.0.1, where engines accept plain HTTP."""

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import APIError

from compose import containers
from compose.errors import UnavailableError
from compose.ports import free_port
from compose.process import Daemon

PROGRAMS = ("docker-registry", "htpasswd")
IMAGE = "registry:2"
HTPASSWD_IMAGE = "httpd:2-alpine"
USERNAME = "deployer"
REALM = "docker-watcher"


@dataclass(frozen=True)
class Registry:
    """A registry that answers."""

    host: str
    username: str
    password: str


@contextlib.contextmanager
def private(state: Path) -> Iterator[Registry]:
    """A private registry, empty at first, with a password made for this run."""
    folder = state / "registry"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    registry = Registry(f"127.0.0.1:{free_port()}", USERNAME, secrets.token_urlsafe(24))
    (folder / "htpasswd").write_text(_hashed(registry.password))
    (folder / "config.yml").write_text(json.dumps(_config(registry, folder)))
    daemon = Daemon("registry", ["docker-registry", "serve", str(folder / "config.yml")], state)
    daemon.start()
    try:
        daemon.wait_until(lambda: _answers(registry), 20)
        yield registry
    finally:
        daemon.stop()


@contextlib.contextmanager
def contained(client: docker.APIClient, state: Path) -> Iterator[Registry]:
    """The same as a container."""
    password = secrets.token_urlsafe(24)
    hashing = ["htpasswd", "-nbB", "-C", "5", USERNAME, password]
    service = containers.Service(
        "registry",
        IMAGE,
        5000,
        environment={
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": REALM,
            "REGISTRY_AUTH_HTPASSWD_PATH": "/htpasswd",
            "REGISTRY_STORAGE_DELETE_ENABLED": "true",
        },
        files={"/htpasswd": containers.run_once(client, HTPASSWD_IMAGE, hashing, state)},
    )
    with containers.running(client, service, state) as address:
        registry = Registry(address, USERNAME, password)
        containers.wait_until(lambda: _answers(registry), "registry")
        yield registry


def check_reach(client: docker.APIClient, registry: Registry) -> None:
    """Let the engine log in: an engine elsewhere has another 127.0.0.1 than we have."""
    try:
        client.login(registry.username, registry.password, registry=registry.host, reauth=True)
    except APIError as error:
        raise UnavailableError(
            f"The engine cannot reach the registry at {registry.host} (is it on another machine?): {error}"
        ) from error


def _hashed(password: str) -> str:
    """The password as bcrypt, the only form that the registry reads."""
    return subprocess.run(
        ["htpasswd", "-niB", "-C", "5", USERNAME], input=password, capture_output=True, text=True, check=True
    ).stdout


def _config(registry: Registry, folder: Path) -> dict[str, object]:
    """Its settings; JSON is YAML."""
    return {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": registry.host, "secret": secrets.token_urlsafe(24)},
        "auth": {"htpasswd": {"realm": REALM, "path": str(folder / "htpasswd")}},
    }


def _answers(registry: Registry) -> bool:
    """Whether it lets its user in."""
    login = (registry.username, registry.password)
    try:
        return requests.get(f"http://{registry.host}/v2/", auth=login, timeout=3).ok
    except requests.RequestException:
        return False
