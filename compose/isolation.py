"""Namespaces of our own: a private engine's interfaces, firewall rules and mounts vanish with its run."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from compose.errors import UnavailableError

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_CHILD_SUBREAPER = 36
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def isolate() -> None:
    """Move this process, and whatever it starts from now on, to a network and mount namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise UnavailableError(
            "The kernel refuses a network namespace for a private engine "
            f"({os.strerror(ctypes.get_errno())}): start Docker yourself and set DOCKER_HOST, "
            "or allow this (in a container: --privileged)."
        )
    isolate_mounts()
    _bring_up("lo")


def isolate_mounts() -> None:
    """From now on this process, and whatever it starts, has mounts that nobody else sees."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise UnavailableError(f"The kernel refuses a mount namespace ({os.strerror(ctypes.get_errno())}).")
    mount("none", Path("/"), None, MS_REC | MS_PRIVATE, None)


def mount(source: str, target: Path, kind: str | None, flags: int, options: str | None) -> None:
    """As mount(2) has it."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(*texts[:3], flags, texts[3]):
        raise UnavailableError(
            f"{target} cannot be mounted ({os.strerror(ctypes.get_errno())}): "
            "start Docker yourself and set DOCKER_HOST."
        )


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none outlives us unseen (on Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _bring_up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", interface.encode(), 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", interface.encode(), flags | IFF_UP))
