"""HTTP answers of those who may be slow, silent or hostile: each ends in time, and has a bound in memory."""

import http.client
import io
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import urllib3.exceptions

from worker.interrupt import Interrupt

_PIECE = 65_536


class TooLong(urllib3.exceptions.HTTPError):
    """An answer, or a line of it, that is longer than any honest one."""


class Deadline:
    """So many seconds from when it was made or put off last, for all that happens until then: not for each byte."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.put_off()

    def put_off(self) -> None:
        """Have the seconds begin anew."""
        self._at = time.monotonic() + self._seconds

    def left(self) -> float:
        """The seconds that are left.

        Raises TimeoutError.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out after {self._seconds:g} s")
        return left


class _Receiving(io.RawIOBase):
    """What a socket receives until a deadline."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is received until a deadline, from the first byte of its head on."""

    def __init__(self, deadline: Deadline, connection: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(connection, *arguments, **named)
        self.fp = io.BufferedReader(_Receiving(self.fp.detach(), connection, deadline))


class _Readable(Protocol):
    """An answer of http.client or of urllib3."""

    def read1(self, amount: int, /) -> bytes: ...


def bound(connection: http.client.HTTPConnection, deadline: Deadline) -> None:
    """Have a connection's next request be sent, and its answer received, until the deadline."""
    connection.timeout = deadline.left()
    connection.response_class = partial(_Answer, deadline)  # type: ignore[assignment]  # it is only called


@contextmanager
def connected(connection: http.client.HTTPConnection, deadline: Deadline, interrupt: Interrupt) -> Iterator[None]:
    """Connect, for one request, until the block ends, or until the deadline.

    Raises Interrupted, once connected, as soon as `interrupt` is set; and what http.client and urllib3 raise.
    """
    with closing(connection):
        bound(connection, deadline)
        connection.connect()
        with _handle(connection) as handle, interrupt.closing(lambda: _shut_down(handle)):
            yield


def pieces(answer: _Readable) -> Iterator[bytes]:
    """An answer's body, as it comes."""
    return iter(lambda: answer.read1(_PIECE), b"")


def whole(answer: _Readable, most: int) -> bytes:
    """An answer's body of so many bytes at the most.

    Raises TooLong.
    """
    text = bytearray()
    for piece in pieces(answer):
        text += piece
        if len(text) > most:
            raise TooLong(f"the answer is longer than {most:,} bytes")
    return bytes(text)


def lines(answer: _Readable, longest: int) -> Iterator[bytes]:
    """The lines of an answer's body, as they come, each of so many bytes at the most.

    Raises TooLong.
    """
    begun = bytearray()
    for piece in pieces(answer):
        first, *others = piece.split(b"\n")
        begun += first
        for other in others:
            yield bytes(begun)
            begun = bytearray(other)
        if len(begun) > longest:
            raise TooLong(f"a line of the answer is longer than {longest:,} bytes")
    if begun:
        yield bytes(begun)


def _handle(connection: http.client.HTTPConnection) -> socket.socket:
    # A descriptor of its own: the answer's end closes the connection's, whose number may be another file's by the
    # time that another thread shuts it down.
    return socket.socket(fileno=os.dup(connection.sock.fileno()))


def _shut_down(handle: socket.socket) -> None:
    # Closing would not wake the thread that reads. The other side may have hung up already.
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
