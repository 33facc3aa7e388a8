"""A private Podman that speaks Docker's API (ENGINE=podman), with storage, networks and configuration of its own."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from compose import packages
from compose.process import Daemon

#: The network programs are in a folder of Podman's own.
PROGRAMS = ("podman", "/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns", "catatonit", "runc", "iptables")

#: No service manager runs, which would also run the health checks; nor may we raise limits.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
init_path = "/usr/bin/catatonit"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
#: As Docker has it.
REGISTRIES = """\
[[registry]]
prefix = "127.0.0.1"
location = "127.0.0.1"
insecure = true
"""


def prepare() -> None:
    """Install what is missing."""
    packages.ensure(PROGRAMS)


@contextlib.contextmanager
def running(state: Path) -> Iterator[tuple[Daemon, str]]:
    """One with nothing on it; its address answers a little later."""
    folder = state / "podman"
    socket = state / "podman.sock"
    shutil.rmtree(folder, ignore_errors=True)
    socket.unlink(missing_ok=True)
    (folder / "networks").mkdir(parents=True)
    (folder / "containers.conf").write_text(CONFIGURATION.format(folder=folder))
    (folder / "registries.conf").write_text(REGISTRIES)
    settings = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        # Never the logins of whoever runs this.
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
    }
    places = [f"--root={folder / 'root'}", f"--runroot={folder / 'run'}", f"--tmpdir={folder / 'tmp'}"]
    argv = ["podman", *places, "system", "service", "--time=0", f"unix://{socket}"]
    daemon = Daemon("podman", argv, state, settings)
    daemon.start()
    try:
        yield daemon, f"unix://{socket}"
    finally:
        daemon.stop()
