"""The port where Prometheus asks (`GET /metrics`), and who wants to know whether this worker works (`GET /health`)."""

import socket
import socketserver
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from worker.metrics.counted import Counted
from worker.metrics.health import Health
from worker.metrics.observed import Observed
from worker.settings import SettingsInvalid

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PATIENCE = 10.0
"""Seconds that a client may take with its request: whoever opens connections and says nothing keeps no thread."""


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # named so by http.server
        """Say nothing of each question."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: IPv4Address | IPv6Address, port: int, *, is_shared: bool) -> None:
        self.address_family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004  # IPv6
        # With another process of the same user that says so too, and answers the same.
        self.allow_reuse_port = is_shared
        super().__init__((str(address), port), _Handler)

    def server_bind(self) -> None:
        # Not http.server's own, which asks the DNS for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # always of the internet here
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where somebody has hung up."""


def serve(counted: Counted, address: IPv4Address | IPv6Address, port: int, *, is_shared: bool) -> None:
    """Answer from now on, in threads of its own.

    Raises SettingsInvalid.
    """
    try:
        server = _Server(address, port, is_shared=is_shared)
    except OSError as error:
        raise SettingsInvalid(
            f"DW_METRICS_PORT: {address}:{port} can't be had ({error.strerror}); give each worker of a machine a port "
            "of its own, or all of them the same and PROMETHEUS_MULTIPROC_DIR."
        ) from None
    counted.registry.register(Observed())
    server.set_app(_app(make_wsgi_app(counted.registry), Health()))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _app(metrics: "WSGIApplication", health: Health) -> "WSGIApplication":
    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            return metrics(environ, start_response)
        trouble = health.trouble()
        start_response("503 Service Unavailable" if trouble else "200 OK", [("Content-Type", "text/plain")])
        return [f"{trouble or 'ok'}\n".encode()]

    return answer
