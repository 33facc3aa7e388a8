"""An engine that misbehaves: a socket before the real one, whose answers to some requests have a fault."""

import contextlib
import re
import socket
import socketserver
import threading
from urllib.parse import urlsplit


def connect(host):
    """A connection to the engine at this `DOCKER_HOST`."""
    parts = urlsplit(host)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
        return connection
    return socket.create_connection((parts.hostname, parts.port))


class EngineProxy(socketserver.ThreadingUnixStreamServer):
    """Listens on `path`; `fault` is what befalls all requests but `/version`: silent, dropped, garbage, 500 or cut.

    `once` is a request, as in `POST /containers/[^/]+/start`, and what befalls the first of it: 500 before the engine
    sees it, or lost once the engine has done it.
    """

    daemon_threads = True

    def __init__(self, path, upstream):
        super().__init__(str(path), _Handler)
        self.upstream = upstream
        self.fault = ""
        self.once = None
        self.ended = threading.Event()
        self._guard = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def fault_of(self, request):
        method, path, _ = request.split(b"\r\n")[0].decode().split(" ")
        if path.endswith("/version"):
            return ""
        with self._guard:
            if self.once and re.fullmatch(
                self.once[0], f"{method} {re.sub(r'^/v[0-9.]+', '', path).partition('?')[0]}"
            ):
                fault, self.once = self.once[1], None
                return fault
        return self.fault

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            request = self.read_request()
            fault = self.server.fault_of(request)
            if fault == "":
                self.forward(request, self.wfile.write)
            elif fault == "lost":
                self.forward(request, lambda _: None)
            elif fault == "silent":
                self.server.ended.wait()
            elif fault == "garbage":
                self.wfile.write(b"I am not the engine.\r\n\r\n")
            elif fault == "500":
                self.wfile.write(b'HTTP/1.1 500 Oh\r\nContent-Length: 21\r\n\r\n{"message":"no idea"}')
            elif fault == "cut":
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{"Id": "')

    def read_request(self):
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        body = self.rfile.read(int(length[1])) if length else b""
        return head + b"Connection: close\r\n\r\n" + body

    def forward(self, request, reply):
        with connect(self.server.upstream) as engine:
            engine.sendall(request)
            while data := engine.recv(65_536):
                reply(data)
