"""A cut-over hook that writes down what it is told, and answers as it is made to."""

import hashlib
import hmac
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook(ThreadingHTTPServer):
    """Listens on this machine; `statuses` are the answers to come, and 204 is the one after them.

    What it says to all is `said the hook`, or with `echoes` what it was told, as some servers do in their errors.
    """

    daemon_threads = True

    def __init__(self, key):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/cutover"
        self.key = key
        self.statuses = []
        self.echoes = False
        self.told = []
        """The bodies, in the order in which they came."""
        self.on_told = lambda _: None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = hmac.new(self.server.key.encode(), body, hashlib.sha256).hexdigest()
        assert self.headers["X-DW-Signature"] == f"sha256={expected}"
        told = json.loads(body)
        self.server.told.append(told)
        self.server.on_told(told)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()
        self.wfile.write(str(self.headers).encode() + body if self.server.echoes else b"said the hook")

    def log_message(self, *_):
        pass
