"""A connection that one request has to itself, so that another thread can break it off."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from typing import Any, cast

import docker
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection

from worker.engine.errors import Subject, refused
from worker.errors import EngineUnavailable
from worker.interrupt import Interrupt


@contextmanager
def streamed(
    api: docker.APIClient,
    method: str,
    path: str,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str | bytes] | None = None,
    timeout: float,
    interrupt: Interrupt,
) -> Iterator[HTTPResponse]:
    """Ask the engine, and give the answer to be read as it comes; the connection ends with the block.

    An engine answers no sooner than it has something to say, and until then neither the SDK nor requests tells which
    connection it is that waits. So this one is made by the SDK's pool, which knows sockets, ports and TLS, but never
    belongs to it. No HTTP proxy is asked on the way.

    `timeout` is how many seconds may pass while connecting, and then without a byte.

    Raises Interrupted, once connected, as soon as `interrupt` is set; and, for `engine_errors` to translate, what
    urllib3 and http.client raise.
    """
    url = f"{api.base_url}/v{api.api_version}{path}"
    request = api.prepare_request(requests.Request(method, url, params=params, headers=headers))
    with closing(_connection(api, request)) as connection:
        connection.timeout = timeout
        connection.connect()
        with _handle(connection) as handle, interrupt.closing(lambda: _shut_down(handle)):
            connection.request(method, request.path_url, headers=request.headers, preload_content=False)
            with connection.getresponse() as response:
                yield response


def messages(subject: Subject, response: HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Read an answer that is a JSON object a line, as they come.

    Raises the error of an answer that is none, EngineUnavailable for anything but such lines.
    """
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise refused(subject, response.status, _explanation(response))
    for line in response:
        yield _decoded(subject, line)


def _decoded(subject: Subject, line: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise EngineUnavailable(f"{subject} failed: the engine's answer is not JSON; try again.", subject.facts())
    return message


def _explanation(response: HTTPResponse) -> str:
    text = response.data.decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or str(response.reason)


def _connection(api: docker.APIClient, request: requests.PreparedRequest) -> HTTPConnection:
    adapter = cast(HTTPAdapter, api.get_adapter(str(request.url)))
    tls = api.merge_environment_settings(str(request.url), {}, None, None, None)
    pool = cast(HTTPConnectionPool, adapter.get_connection_with_tls_context(request, tls["verify"], cert=tls["cert"]))
    # What urllib3's and the SDK's pools differ in; there is no public way to a single connection.
    return cast(HTTPConnection, pool._new_conn())  # noqa: SLF001


def _handle(connection: HTTPConnection) -> socket.socket:
    # A descriptor of its own: the answer's end closes the connection's, whose number may be another file's by the
    # time that another thread shuts it down.
    return socket.socket(fileno=os.dup(connection.sock.fileno()))


def _shut_down(handle: socket.socket) -> None:
    # Closing would not wake the thread that reads. The engine may have hung up already.
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
