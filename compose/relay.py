"""A way out of a private network to one address: for a Redis that is given beside an engine that is private.

A process that stayed outside accepts on a socket that was opened inside, and carries each connection over.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from compose.errors import UnavailableError
from compose.process import Daemon

CHUNK = 65536


class Relay:
    """Started before the network is ours alone, opened after."""

    def __init__(self, url: str, state: Path) -> None:
        self.parts = urlsplit(url)
        if self.parts.scheme == "rediss":
            raise UnavailableError(
                "DW_REDIS_URL with TLS cannot be used together with a private engine: set DOCKER_HOST too."
            )
        ours, theirs = socket.socketpair()
        self._ours = ours
        target = [self.parts.hostname or "127.0.0.1", str(self.parts.port or 6379)]
        self.daemon = Daemon("relay", [sys.executable, "-m", "compose.relay", *target], state)
        with theirs:
            self.daemon.start(stdin=theirs.fileno())

    def open(self) -> str:
        """Listen inside; return the address that leads to the given one."""
        with self._ours, socket.create_server(("127.0.0.1", 0)) as listener:
            socket.send_fds(self._ours, [b"x"], [listener.fileno()])
            return urlunsplit(_at(self.parts, listener.getsockname()[1]))


def _at(parts: SplitResult, port: int) -> SplitResult:
    login, separator, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{separator}127.0.0.1:{port}")


@contextlib.contextmanager
def needed(url: str, state: Path) -> Iterator[Relay | None]:
    """A relay to this address; none where it is a Unix socket, which crosses networks by itself."""
    if url.startswith("unix:"):
        yield None
        return
    relay = Relay(url, state)
    try:
        yield relay
    finally:
        relay.daemon.stop()


def main() -> None:
    """Take the listening socket from standard input and serve it."""
    target = (sys.argv[1], int(sys.argv[2]))
    with socket.socket(fileno=0) as channel:
        _, handles, _, _ = socket.recv_fds(channel, 1, 1)
    listener = socket.socket(fileno=handles[0])
    while True:
        inside, _ = listener.accept()
        try:
            outside = socket.create_connection(target, timeout=5)
        except OSError as error:
            print(f"{target[0]}:{target[1]}: {error}", file=sys.stderr, flush=True)
            inside.close()
            continue
        outside.settimeout(None)
        for source, sink in ((inside, outside), (outside, inside)):
            threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
