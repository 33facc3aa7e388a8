"""An engine that misbehaves: a socket before the real one, whose answers to some requests have a fault."""

import contextlib
import itertools
import json
import random
import re
import socket
import socketserver
import threading
from collections import Counter
from urllib.parse import urlsplit


def connect(host):
    """A connection to the engine at this `DOCKER_HOST`."""
    parts = urlsplit(host)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
        return connection
    return socket.create_connection((parts.hostname, parts.port))


def _half(answer):
    """The real head and half of the body; of an answer without a body, half of the head."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return head + end + body[: len(body) // 2] if body else answer[: len(answer) // 2]


_NO_HTTP = b"I am not the engine.\r\n\r\n"
#: What is answered in the place of the engine, which never sees the request.
_INSTEAD = {
    "500": b'HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 21\r\n\r\n{"message":"no idea"}',
    "half-started": b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 50\r\n\r\n"
    b'{"message":"task c0ffee: already exists: unknown"}',
    "dropped": b"",
    "garbage": _NO_HTTP,
    "nonsense": b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n[[1], "a", 2]',
    "elsewhere": b"HTTP/1.1 307 Oh\r\nConnection: close\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "cut": b'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{"Id": "',
}
_OK = b"HTTP/1.1 200 OK\r\n"
_DRIP = 0.1
"""Seconds between two bytes: no wait for one of them is ever long."""


def _layers():
    """What a pull tells of as many layers as one can invent."""
    for first in itertools.count(step=1000):
        yield b"".join(b'{"status":"Pulling fs layer","id":"%d"}\n' % layer for layer in range(first, first + 1000))


#: Answers that go on: a head, then pieces, and the seconds after each.
_GOES_ON = {
    "endless": (_OK + b"\r\n", lambda: itertools.repeat(b"x" * 2**20), 0),
    "endless head": (b"", lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), 0),
    "dripped": (_OK + b"\r\n", lambda: itertools.repeat(b" "), _DRIP),
    "dripped head": (_OK + b"X: ", lambda: itertools.repeat(b"x"), _DRIP),
    "idle talk": (_OK + b"\r\n", lambda: itertools.repeat(b'{"status":"Waiting","id":"a"}\n' * 1000), 0),
    "invented layers": (_OK + b"\r\n", _layers, 0),
    # A gigabyte that a container has written: a frame, the last four bytes of whose head are its length.
    "long log": (
        _OK + b"\r\n",
        lambda: itertools.repeat(b"\1\0\0\0\0\x10\0\0" + b"a line of it..\n\n" * 65_536, 1000),
        0,
    ),
}
#: What becomes of the engine's answer, once it has done what was asked.
_AFTER = {
    "lost": lambda _: b"",
    "half": _half,
    "garbled": lambda _: _NO_HTTP,
    "no JSON": lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>",
}


class EngineProxy(socketserver.ThreadingUnixStreamServer):
    """Listens on `path`; `fault` is what befalls all requests but `/version`: silent, or any of the above.

    `once` is a request, as in `POST /containers/[^/]+/start`, and the fault that befalls the first of it alone.
    With `400 echo` and the like the engine never sees it, and the error repeats what `words` makes of the request.
    `spoiled` is a pattern of requests, and the fault that befalls all of these.
    `asked` are the requests so far, and `under_way` those that the engine still answers, each with its connection to
    the engine.
    `sent` is how many bytes of answers that go on have gone out.
    `odds` is how likely each fault befalls any request, by the dice of `seed`; `befell` counts those.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path, upstream):
        super().__init__(str(path), _Handler)
        self.upstream = upstream
        self.fault = ""
        self.once = None
        self.spoiled = ("", "")
        self.sent = 0
        self.words = str
        self.asked = []
        self.under_way = []
        self.odds = {}
        self.befell = Counter()
        self.seed(0)
        self.ended = threading.Event()
        self._guard = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def seed(self, seed):
        self._dice = random.Random(seed)

    def fault_of(self, request):
        if request.endswith("/version"):
            return ""
        with self._guard:
            self.asked.append(request)
            if re.fullmatch(self.spoiled[0], request):
                return self.spoiled[1]
            if self.once and re.fullmatch(self.once[0], request):
                fault, self.once = self.once[1], None
                return fault
            return self.fault or self.by_chance()

    @contextlib.contextmanager
    def carrying(self, request, engine):
        with self._guard:
            self.under_way.append((request, engine))
        try:
            yield
        finally:
            with self._guard:
                self.under_way.remove((request, engine))

    def cut(self, pattern):
        """Break off the answers to these requests."""
        with self._guard:
            for request, engine in self.under_way:
                if re.fullmatch(pattern, request):
                    engine.shutdown(socket.SHUT_RDWR)

    def by_chance(self):
        rolled = self._dice.random()
        for fault, odds in self.odds.items():
            rolled -= odds
            if rolled < 0:
                self.befell[fault] += 1
                return fault
        return ""

    def pass_on(self, handler, request):
        """Have the engine answer."""
        handler.forward(request, handler.wfile.write)

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()


def _called(request):
    """As in `GET /containers/json`."""
    method, path, _ = request.split(b"\r\n")[0].decode().split(" ")
    return f"{method} {re.sub(r'^/v[0-9.]+', '', path).partition('?')[0]}"


def _saying(status, words):
    body = json.dumps({"message": words}).encode()
    return f"HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            request = self.read_request()
            fault = self.server.fault_of(_called(request))
            if fault == "silent":
                self.server.ended.wait()
            elif fault in _INSTEAD:
                self.wfile.write(_INSTEAD[fault])
            elif fault in _GOES_ON:
                self.go_on(*_GOES_ON[fault])
            elif fault.endswith(" echo"):
                self.wfile.write(_saying(fault.removesuffix(" echo"), self.server.words(request.decode())))
            elif fault in _AFTER:
                answer = []
                self.forward(request, answer.append)
                self.wfile.write(_AFTER[fault](b"".join(answer)))
            else:
                self.server.pass_on(self, request)

    def go_on(self, head, pieces, pause):
        self.wfile.write(head)
        for piece in pieces():
            self.wfile.write(piece)
            self.server.sent += len(piece)
            if self.server.ended.wait(pause):
                return

    def read_request(self):
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        body = self.rfile.read(int(length[1])) if length else b""
        return head + b"Connection: close\r\n\r\n" + body

    def forward(self, request, reply):
        with connect(self.server.upstream) as engine, self.server.carrying(_called(request), engine):
            engine.sendall(request)
            while data := engine.recv(65_536):
                reply(data)
