"""An engine beside the private one, of the same program, with no more of its own than a test needs."""

import contextlib
import shutil
import subprocess
import tempfile
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


@contextlib.contextmanager
def with_options(worker_id, *options):
    """A second engine that was started with these: its `DOCKER_HOST`."""
    data = Path(required("DW_SERVICES_STATE")) / f"second-{worker_id}"
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    daemon = second_engine(data.name, data=data, folder=folder, options=("--storage-driver=vfs", *options))
    try:
        daemon.start()
        daemon.wait_until(lambda: answers(folder), 30)
        yield address(folder)
    finally:
        daemon.stop()
        shutil.rmtree(folder)
        shutil.rmtree(data)


@contextlib.contextmanager
def on_small_disk(worker_id, megabytes):
    """A second engine that keeps all that it has in so much memory: its `DOCKER_HOST`, and where it keeps that."""
    data = Path(required("DW_SERVICES_STATE")) / f"small-{worker_id}"
    data.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    daemon = second_engine(data.name, data=data, folder=folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", data], check=True)
    try:
        daemon.start()
        daemon.wait_until(lambda: answers(folder), 30)
        yield address(folder), data
    finally:
        daemon.stop()
        # Refused as long as anything of the engine is left that holds it.
        subprocess.run(["umount", data], check=True)
        shutil.rmtree(folder)
        data.rmdir()
