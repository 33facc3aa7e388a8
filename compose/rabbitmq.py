"""A private RabbitMQ, for the tests that have it as the broker: node name, ports, cookie and folder of its own."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import amqp

from compose import packages
from compose.ports import free_port
from compose.process import Daemon

PROGRAMS = ("rabbitmq-server",)
#: What the system's own `rabbitmq-server` runs, after it has become a user that may not write to our folder.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
NODE = "docker-watcher@localhost"
STARTS_WITHIN = 90


@contextlib.contextmanager
def private(state: Path, settings: Mapping[str, object] | None = None) -> Iterator[tuple[Daemon, str]]:
    """One that is empty at first and keeps what it has when it is started anew, and its address.

    `settings` are added to its rabbitmq.conf. Installs the package where it is missing.
    """
    packages.ensure(PROGRAMS)
    folder = state / "rabbitmq"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cookie = folder / ".erlang.cookie"
    cookie.touch(mode=0o600)
    cookie.write_text(secrets.token_hex(24))
    port, mapper_port = free_port(), free_port()
    _configure(folder, {"listeners.tcp.1": f"127.0.0.1:{port}", "log.console": "true", **(settings or {})})
    # It would start one by itself that stays.
    mapper = Daemon("epmd", ["epmd", "-address", "127.0.0.1", "-port", str(mapper_port)], state)
    daemon = Daemon("rabbitmq", [SERVER], state, _environment(folder, mapper_port))
    mapper.start()
    daemon.start()
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    try:
        daemon.wait_until(lambda: answers(port), STARTS_WITHIN)
        yield daemon, url
    finally:
        daemon.stop()
        mapper.stop()


def _configure(folder: Path, settings: Mapping[str, object]) -> None:
    (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (folder / "plugins").write_text("[].")


def _environment(folder: Path, mapper_port: int) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # It becomes the server, instead of a shell that is killed alone.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def answers(port: int) -> bool:
    """Whether it takes connections."""
    try:
        with amqp.Connection(f"127.0.0.1:{port}", connect_timeout=3):
            return True
    except (OSError, amqp.AMQPError):
        return False
