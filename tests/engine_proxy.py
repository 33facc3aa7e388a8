"""An engine that misbehaves: a socket before the real one, whose answers to some requests have a fault."""

import contextlib
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
    "cut": b'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{"Id": "',
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
    `always` is the same for each of them. `asked` are the requests so far, and `under_way` those that
    the engine still answers, each with the connection to it.
    `odds` is how likely each fault befalls any request, by the dice of `seed`; `befell` counts those.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path, upstream):
        super().__init__(str(path), _Handler)
        self.upstream = upstream
        self.fault = ""
        self.once = None
        self.always = None
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
            if self.always and re.fullmatch(self.always[0], request):
                return self.always[1]
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

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()


def _called(request):
    """As in `GET /containers/json`."""
    method, path, _ = request.split(b"\r\n")[0].decode().split(" ")
    return f"{method} {re.sub(r'^/v[0-9.]+', '', path).partition('?')[0]}"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            request = self.read_request()
            fault = self.server.fault_of(_called(request))
            if fault == "silent":
                self.server.ended.wait()
            elif fault in _INSTEAD:
                self.wfile.write(_INSTEAD[fault])
            elif fault in _AFTER:
                answer = []
                self.forward(request, answer.append)
                self.wfile.write(_AFTER[fault](b"".join(answer)))
            else:
                self.forward(request, self.wfile.write)

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
