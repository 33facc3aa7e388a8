"""A registry that misbehaves: forwards to the real one, but for the requests that a fault is for."""

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
_SMALLEST_LAYER = 100_000


class RegistryProxy(ThreadingHTTPServer):
    """Serves on a port of its own; `fault` is (what it is for: manifest, config or layer; what to do)."""

    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.fault = ("", "")
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """An engine that hangs up on a fault is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer, body = self.ask()
        subject, fault = self.server.fault
        if subject != self.subject(answer):
            self.reply(answer.status, answer.getheaders(), body)
        elif fault.isdigit():
            error = json.dumps({"errors": [{"code": _CODES[fault], "message": _CODES[fault].lower()}]}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(error)))]
            self.reply(int(fault), headers, error)
        elif fault == "stall":
            self.server.ended.wait()
        elif fault == "cut":
            self.reply(answer.status, answer.getheaders(), body[: len(body) // 2])
            self.close_connection = True
        elif fault == "alter":
            self.reply(answer.status, answer.getheaders(), bytes([body[0] ^ 1]) + body[1:])

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
            return "layer" if int(answer.getheader("Content-Length", 0)) >= _SMALLEST_LAYER else "config"
        return "ping"

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass
