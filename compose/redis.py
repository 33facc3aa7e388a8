"""Redis: the one of DW_REDIS_URL, or a private one that keeps an append-only file in the run's folder.

REDIS=valkey has the private one be Valkey.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import docker
import redis

from compose import containers, release
from compose.certificates import Authority
from compose.errors import UnavailableError
from compose.ports import free_port
from compose.process import Daemon
from compose.state import ROOT

PROGRAMS = ("redis-server",)
#: It wants a newer C library than the release before has.
VALKEY = ("valkey-server", "valkey-tools", "liblzf1", "libc6")
#: The highest number of a database where the number of databases is Redis' default.
LAST_DATABASE = 15
IMAGE = "redis:7-alpine"
DURABLE = {"appendonly": "yes", "save": ""}
#: In its container every connection comes from outside; the port is published on 127.0.0.1 only.
REACHABLE = {"protected-mode": "no"}
#: Who may do what in a hardened one, as docs/hardening.md has it installed.
ACL = Path(__file__).with_name("redis.acl")
USERS = ("worker", "producer", "operator", "admin")


@dataclass(frozen=True)
class Redis:
    """A Redis that answers."""

    url: str
    version: str


def given() -> Redis | None:
    """The one that DW_REDIS_URL names."""
    url = os.environ.get("DW_REDIS_URL")
    if not url:
        return None
    try:
        return Redis(url, _version(url))
    except (redis.RedisError, ValueError) as error:
        raise UnavailableError(f"No Redis answers at DW_REDIS_URL={masked(url)}: {error}") from error


def spare_database(url: str) -> str:
    """The address of an empty database of the same Redis.

    Queues have fixed names: in a database of their own they meet nobody else's messages, and are easily removed.
    """
    parts = urlsplit(url)
    for number in range(LAST_DATABASE, 0, -1):
        spare = urlunsplit(parts._replace(path=f"/{number}"))
        # A Redis can be set up to have fewer.
        with contextlib.suppress(redis.ResponseError), redis.Redis.from_url(spare) as client:
            if not client.dbsize():
                return spare
    raise UnavailableError(f"No database of {masked(url)} is empty: empty one, or set DW_REDIS_URL to another Redis.")


def masked(url: str) -> str:
    """The address without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login.partition(':')[0]}:***@{place}"))


@contextlib.contextmanager
def private(state: Path) -> Iterator[Redis]:
    """A private Redis, empty at first."""
    folder = state / "redis"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    port = free_port()
    started = daemon("redis", state, folder, port)
    url = f"redis://127.0.0.1:{port}/0"
    started.start()
    try:
        started.wait_until(lambda: answers(url), 20)
        yield Redis(url, _version(url))
    finally:
        started.stop()


@contextlib.contextmanager
def hardened(state: Path, namespace: str) -> Iterator[dict[str, str]]:
    """A private Redis that speaks TLS only, to users who may do no more than they need: the address of each."""
    folder = state / "redis-hardened"
    shutil.rmtree(folder, ignore_errors=True)
    authority = Authority.new(folder)
    server = authority.issue("server")
    port = free_port()
    passwords = {user: secrets.token_hex(24) for user in USERS}
    (folder / "acl").write_text(_acl(namespace, passwords))
    settings = {
        "tls-port": str(port),
        "tls-cert-file": str(server / "cert.pem"),
        "tls-key-file": str(server / "key.pem"),
        "tls-ca-cert-file": str(authority.ca),
        "tls-auth-clients": "no",
        "aclfile": str(folder / "acl"),
    }
    started = daemon("redis-hardened", state, folder, 0, settings)
    place = f"127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={authority.ca}"
    urls = {user: f"rediss://{user}:{password}@{place}" for user, password in passwords.items()}
    started.start()
    try:
        started.wait_until(lambda: _takes(urls["admin"]), 20)
        yield urls
    finally:
        started.stop()


def _acl(namespace: str, passwords: dict[str, str]) -> str:
    text = ACL.read_text().replace("default:", f"{namespace}:").replace("default.", f"{namespace}.")
    for user, password in passwords.items():
        text = text.replace(f"{user}-sha256", hashlib.sha256(password.encode()).hexdigest())
    return text


def _takes(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def daemon(name: str, state: Path, folder: Path, port: int, more: Mapping[str, str] | None = None) -> Daemon:
    """One that keeps its append-only file in this folder, and finds there what it had."""
    settings = {
        **DURABLE,
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "daemonize": "no",
        "set-proc-title": "no",  # it would overwrite the environment that marks the process as ours
        **(more or {}),
    }
    return Daemon(name, [*_server(), *_options(settings)], state)


def prepare() -> None:
    """Get the program where this machine hasn't got it and no package of this release brings it."""
    if _wanted() == "valkey" and not shutil.which("valkey-server"):
        release.unpacked(ROOT / "valkey", VALKEY)


def _server() -> list[str]:
    program = f"{_wanted()}-server"
    folder = ROOT / "valkey"
    if _wanted() == "redis" or shutil.which(program):
        return [program]
    (loader,) = folder.glob("usr/lib/*/ld-linux-*.so.*")
    return [str(loader), "--library-path", str(loader.parent), str(folder / "usr/bin" / program)]


def _wanted() -> str:
    wanted = os.environ.get("REDIS") or "redis"
    if wanted not in ("redis", "valkey"):
        raise UnavailableError(f"REDIS={wanted} is neither redis nor valkey.")
    return wanted


@contextlib.contextmanager
def contained(client: docker.APIClient, state: Path) -> Iterator[Redis]:
    """A private Redis as a container."""
    service = containers.Service("redis", IMAGE, 6379, ["redis-server", *_options({**DURABLE, **REACHABLE})])
    with containers.running(client, service, state) as address:
        url = f"redis://{address}/0"
        containers.wait_until(lambda: answers(url), "redis")
        yield Redis(url, _version(url))


def _options(settings: dict[str, str]) -> list[str]:
    return [part for key, value in settings.items() for part in (f"--{key}", value)]


def _version(url: str) -> str:
    with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3)) as client:
        told = client.info("server")
        return f"valkey {told['valkey_version']}" if "valkey_version" in told else str(told["redis_version"])


def answers(url: str) -> bool:
    """Whether it takes commands."""
    try:
        return bool(_version(url))
    except redis.RedisError:
        return False
