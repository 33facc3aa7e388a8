"""A registry whose one image never comes to an end: its layer of 1 GB trickles, or nothing is said at all."""

import hashlib
import json
import os
import select
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_LAYER_BYTES = 1_000_000_000
_CHUNK = 50_000
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class ThrottledRegistry(ThreadingHTTPServer):
    """Serves `image` without a password; `silent` ones don't answer for its manifest.

    `sent` is how many bytes of the layer have gone out, at most `rate` a second. `asked` is set once the engine waits
    for the manifest or the layer, and `hung_up` once it has closed the connection on which it did.
    """

    daemon_threads = True

    def __init__(self, *, rate=10_000_000, silent=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rate, self.silent = rate, silent
        self.image = f"127.0.0.1:{self.server_address[1]}/acme/endless:v1"
        # A digest that no engine has heard of: it would join whoever pulls the same layer.
        self.layer = f"sha256:{os.urandom(32).hex()}"
        self.config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [self.layer]}}
        ).encode()
        self.sent = 0
        self.asked, self.hung_up, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._more = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def manifest(self):
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(self.config)}
        layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": _LAYER_BYTES}
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {**config, "digest": digest(self.config)},
                "layers": [{**layer, "digest": self.layer}],
            }
        ).encode()

    def count(self, size):
        with self._more:
            self.sent += size
            self._more.notify_all()

    def has_sent(self, size, seconds=30):
        """Await that so many bytes of the layer have gone out; False if they haven't in time."""
        with self._more:
            return self._more.wait_for(lambda: self.sent >= size, seconds)

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        if self.path == "/v2/":
            self.reply("application/json", b"{}")
        elif "/manifests/" in self.path and server.silent:
            server.asked.set()
            self.until_hung_up(pause=0.02, meanwhile=lambda: None)
        elif "/manifests/" in self.path:
            self.reply(_MANIFEST, server.manifest())
        elif self.path.endswith(digest(server.config)):
            self.reply("application/octet-stream", server.config)
        else:
            server.asked.set()
            self.head("application/octet-stream", _LAYER_BYTES)
            self.until_hung_up(pause=_CHUNK / server.rate, meanwhile=self.trickle)

    do_HEAD = do_GET  # noqa: N815  # as http.server wants it

    def trickle(self):
        self.wfile.write(os.urandom(_CHUNK))
        self.server.count(_CHUNK)

    def until_hung_up(self, *, pause, meanwhile):
        """Do it every so many seconds, while the client, that has nothing more to ask, keeps the connection."""
        self.close_connection = True
        while not self.server.ended.wait(pause):
            readable, _, _ = select.select([self.connection], [], [], 0)
            try:
                if readable:
                    raise BrokenPipeError
                meanwhile()
            except OSError:
                self.server.hung_up.set()
                return

    def reply(self, kind, body):
        self.head(kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, kind, length):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if "/manifests/" in self.path:
            self.send_header("Docker-Content-Digest", digest(self.server.manifest()))
        self.end_headers()

    def log_message(self, *_):
        pass


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
