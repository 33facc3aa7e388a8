"""A registry that misbehaves: forwards to the real one, but for the requests that a fault is for."""

import base64
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CODES = {
    "401": "UNAUTHORIZED",
    "403": "DENIED",
    "404": "MANIFEST_UNKNOWN",
    "429": "TOOMANYREQUESTS",
    "500": "UNKNOWN",
    "503": "UNAVAILABLE",
}
_CHANGES = {
    "alter": lambda body: bytes(byte ^ 1 for byte in body[:1]) + body[1:],
    # Still JSON, and of the same meaning and length.
    "reword": lambda body: body.replace(b"\n", b" "),
}
_SMALLEST_LAYER = 100_000


class RegistryProxy(ThreadingHTTPServer):
    """Serves on a port of its own; `fault` is (what it is for: manifest, config or layer; what to do).

    What to do: a status, or stall (no answer), hang or cut (half of it, then nothing, or the end), endless (it, again
    and again), alter, reword, or the address of whom to ask instead.
    """

    daemon_threads = True

    def __init__(self, upstream, handler=None, address="127.0.0.1"):
        super().__init__((address, 0), handler or Handler)
        self.upstream = upstream
        self.fault = ("", "")
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def host(self):
        return "{}:{}".format(*self.server_address)

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """An engine that hangs up on a fault is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer, body = self.ask()
        subject, fault = self.server.fault
        if subject != self.subject(answer):
            self.reply(answer.status, answer.getheaders(), body)
        elif fault.isdigit():
            self.refuse(int(fault), {"errors": [{"code": _CODES[fault], "message": _CODES[fault].lower()}]})
        elif fault == "stall":
            self.server.ended.wait()
            self.close_connection = True
        elif fault == "hang":
            self.reply(answer.status, answer.getheaders(), body[: len(body) // 2])
            self.server.ended.wait()
        elif fault == "endless":
            self.reply(
                answer.status, [(name, value) for name, value in answer.getheaders() if name != "Content-Length"], body
            )
            while not self.server.ended.wait(0.05):
                self.wfile.write(body)
        elif fault.startswith("http"):
            self.reply(307, [("Location", fault + self.path), ("Content-Length", "0")], b"")
        elif fault == "cut":
            self.reply(answer.status, answer.getheaders(), body[: len(body) // 2])
        else:
            self.reply(answer.status, answer.getheaders(), _CHANGES[fault](body))

    do_HEAD = do_GET  # noqa: N815  # as http.server wants it

    def ask(self):
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():  # an engine sends Accept several times
            if name.lower() != "host":
                upstream.putheader(name, value)
        upstream.endheaders()
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        return answer, body

    def subject(self, answer):
        if "/manifests/" in self.path:
            return "manifest"
        if "/blobs/" in self.path:
            # After a cut an engine asks for the rest only: `bytes 100-199/200`.
            size = answer.getheader("Content-Range", "").rpartition("/")[2] or answer.getheader("Content-Length", "0")
            return "layer" if int(size) >= _SMALLEST_LAYER else "config"
        return "ping"

    def refuse(self, status, error, *headers):
        body = json.dumps(error).encode()
        self.reply(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers], body)

    def reply(self, status, headers, body):
        self.send_response(status)
        # A kept connection would have this proxy's faults answer for a later one's, on the same port by chance.
        self.send_header("Connection", "close")
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def basic(login):
    """A login as the header that carries it."""
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
