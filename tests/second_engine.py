"""An engine beside the private one, of the same program, with no more of its own than a test needs."""

from pathlib import Path

import docker

from compose.process import Daemon
from tests.services import required


def second_engine(name, *, data, folder, options=()) -> Daemon:
    """It keeps what it has in `data`, and its sockets and pid files in `folder`.

    That one's path must be short: a socket's may have 107 bytes.
    """
    state = Path(required("DW_SERVICES_STATE"))
    running = Path("/proc") / (state / "dockerd.pid").read_text()
    program = (running / "cmdline").read_text().split("\0")[0]
    environ = dict(line.split("=", 1) for line in (running / "environ").read_text().split("\0") if "=" in line)
    return Daemon(
        name,
        [
            program,
            f"--config-file={state / 'dockerd.json'}",
            f"--host={address(folder)}",
            f"--data-root={data}",
            f"--exec-root={folder / 'x'}",
            f"--pidfile={folder / 'pid'}",
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--group=root"),
            *options,
        ],
        state,
        {"PATH": environ["PATH"]},
    )


def address(folder):
    return f"unix://{folder / 's'}"


def answers(folder):
    try:
        return docker.APIClient(address(folder)).ping()
    except (docker.errors.DockerException, OSError):
        return False
