"""An engine that misbehaves: a socket before the real one, whose answers to all but `/version` have a fault."""

import contextlib
import socket
import socketserver
import threading
from urllib.parse import urlsplit


class EngineProxy(socketserver.ThreadingUnixStreamServer):
    """Listens on `path`; `fault` is silent, dropped, garbage, 500 or cut."""

    daemon_threads = True

    def __init__(self, path, upstream):
        super().__init__(str(path), _Handler)
        self.upstream = urlsplit(upstream)
        self.fault = ""
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def connect(self):
        if self.upstream.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.upstream.path)
            return connection
        return socket.create_connection((self.upstream.hostname, self.upstream.port))

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            request = self.request.recv(65_536)
            if b"/version" in request.split(b"\r\n")[0]:
                self.answer(self.ask(request))
            elif self.server.fault == "silent":
                self.server.ended.wait()
            elif self.server.fault == "garbage":
                self.answer(b"I am not the engine.\r\n\r\n")
            elif self.server.fault == "500":
                self.answer(b'HTTP/1.1 500 Oh\r\nContent-Length: 21\r\n\r\n{"message":"no idea"}')
            elif self.server.fault == "cut":
                self.answer(b'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{"Id": "')

    def ask(self, request):
        with self.server.connect() as engine:
            engine.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            return b"".join(iter(lambda: engine.recv(65_536), b""))

    def answer(self, data):
        self.request.sendall(data)
