"""Debian packages, installed as root where a program is missing; no system service is started.

python -m compose.packages PROGRAM... installs those of them that are missing, where it may.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.errors import UnavailableError

#: Which package brings a program.
PACKAGE_OF = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "podman": "podman",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "catatonit": "catatonit",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "htpasswd": "apache2-utils",
    "busybox": "busybox-static",
    "nginx": "nginx",
    "systemd-analyze": "systemd",
    "node": "nodejs",
    "npm": "npm",
    "curl": "curl",
    "redis-cli": "redis-tools",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "chromium": "chromium",
    "pngquant": "pngquant",
    "debootstrap": "debootstrap",
    "fish": "fish",
    "zsh": "zsh",
}
POLICY = Path("/usr/sbin/policy-rc.d")
APT = ("apt-get", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "NEEDRESTART_MODE": "l"}


def is_root() -> bool:
    """Whether we may install and start what we like."""
    return os.geteuid() == 0


def is_debian() -> bool:
    """Whether packages come from apt here."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def can_install() -> bool:
    """Whether a missing program can be installed."""
    return is_root() and is_debian()


def missing(programs: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    return [program for program in programs if shutil.which(program) is None]


def ensure(programs: Iterable[str]) -> None:
    """Install the packages of those programs that are missing."""
    wanted = sorted({PACKAGE_OF[program] for program in missing(programs)})
    if not wanted:
        return
    print(f"packages  installing {' '.join(wanted)}", file=sys.stderr, flush=True)
    with _no_services_started():
        if _apt("install", *wanted).returncode:
            _apt("update")
            done = _apt("install", *wanted)
            if done.returncode:
                raise UnavailableError(f"apt-get could not install {' '.join(wanted)}:\n{done.stdout.strip()}")


def _apt(action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*APT, action, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **QUIET},
    )


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Packages start their service when installed, unless the administrator's policy file says no."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def main() -> None:
    """Run the command line."""
    if can_install():
        ensure(sys.argv[1:])


if __name__ == "__main__":
    main()
