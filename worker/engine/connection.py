"""How the engine is asked: by the SDK's client, or on a connection that one request has to itself."""

import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from http.client import IncompleteRead
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import docker
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection

from worker import metrics
from worker.engine.errors import Subject, refused
from worker.errors import EngineUnavailable
from worker.interrupt import Interrupt
from worker.wire import Deadline, bound, connected, lines, pieces, whole

LONGEST_ANSWER = 16 * 2**20
"""Bytes of a whole answer, while it is read; a list of a thousand containers has less than half of it.

An engine that wants to can have 30 times as many taken while one such text is read as JSON.
"""
LONGEST_LINE = 2**20
"""Bytes of a line of a pull's answer, or of an event."""
_FRAME_HEAD = 8
_VERSION = re.compile(r"^/v[0-9.]+/")
_VERBS = {"connect", "create", "disconnect", "json", "rename", "restart", "start", "stop", "update", "wait"}


_gives_up_at: ContextVar[float] = ContextVar("gives_up_at", default=math.inf)


@contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """Give all calls of this block so many seconds together, where `DW_ENGINE_TIMEOUT` would be more."""
    token = _gives_up_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _gives_up_at.reset(token)


class EngineApi(docker.APIClient):
    """The SDK's client, but each answer is read whole by this, and ends.

    Requests and the SDK read an answer of whatever length, and for as long as a byte comes now and then. Here a call's
    timeout is for all of it. An answer that leads elsewhere is not followed: what is sent is for the engine, which is
    asked as `DOCKER_…` says: no `REQUESTS_CA_BUNDLE`, no `HTTP_PROXY`, no login of ~/.netrc.
    """

    _pool: HTTPConnectionPool | None = None

    @property
    def trust_env(self) -> bool:
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        # The SDK's own client sets it.
        pass

    def request(self, method: str, url: str, **asked: Any) -> requests.Response:  # type: ignore[override]  # as it is used
        """As `requests.Session.request` does, for what the SDK asks for here: a path, parameters, headers, a text.

        Requests takes as long to prepare that as all the rest takes: cookies, proxies, logins, hooks, and what a
        person may have typed.
        """
        request = requests.PreparedRequest()
        request.method = method
        given = {name: value for name, value in (asked.get("params") or {}).items() if value is not None}
        request.url = f"{url}?{urlencode(given)}" if given else url
        request.headers = CaseInsensitiveDict({**self.headers, **(asked.get("headers") or {})})
        request.body = asked.get("data")
        return self.send(request, timeout=asked["timeout"])

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As `requests.Session.send` does.

        Raises also, for `engine_errors` to translate, what urllib3 and http.client raise, and TooLong.
        """
        began, status = time.monotonic(), 0
        deadline = Deadline(max(0.0, min(options["timeout"], _gives_up_at.get() - began)))
        # There is one: all requests are for the engine.
        self._pool = self._pool or _pool(self, self.verify, self.cert)
        try:
            with _of_pool(self._pool) as connection:
                bound(connection, deadline)
                answer = _answer(connection, request)
                body = whole(answer, LONGEST_ANSWER)
            status = answer.status
        finally:
            is_answered = 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR
            metrics.engine_called(_call(request), time.monotonic() - began, is_answered=is_answered)
        response = cast(HTTPAdapter, self.get_adapter(str(request.url))).build_response(request, answer)
        response.raw = io.BytesIO(body)
        # Where no header tells, requests would guess from all of it, for long.
        response.encoding = "utf-8"
        return response


@contextmanager
def streamed(
    api: docker.APIClient,
    method: str,
    path: str,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str | bytes] | None = None,
    deadline: Deadline,
    interrupt: Interrupt,
) -> Iterator[HTTPResponse]:
    """Ask the engine, and give the answer to be read as it comes; the connection ends with the block.

    An engine answers no sooner than it has something to say, and until then neither the SDK nor requests tells which
    connection it is that waits. So this one is made by the SDK's pool, which knows sockets, ports and TLS, but never
    belongs to it. No HTTP proxy is asked on the way.

    `deadline` is for connecting and for the whole answer, unless it is put off meanwhile.

    Raises Interrupted, once connected, as soon as `interrupt` is set; and, for `engine_errors` to translate, what
    urllib3 and http.client raise.
    """
    url = f"{api.base_url}/v{api.api_version}{path}"
    request = api.prepare_request(requests.Request(method, url, params=params, headers=headers))
    tls = api.merge_environment_settings(url, {}, None, None, None)
    # There is no public way to a single connection.
    connection = cast(HTTPConnection, _pool(api, tls["verify"], tls["cert"])._new_conn())  # noqa: SLF001
    with connected(connection, deadline, interrupt), _answer(connection, request) as answer:
        yield answer


def messages(subject: Subject, answer: HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Read an answer that is a JSON object a line, as they come.

    Raises the error of an answer that is none, EngineUnavailable for anything but such lines, TooLong.
    """
    _check_status(subject, answer)
    for line in lines(answer, LONGEST_LINE):
        yield _decoded(subject, line)


def last_output(subject: Subject, answer: HTTPResponse, most: int) -> bytes:
    """Read an answer that is a container's output, in frames, and keep so many of its last bytes.

    Raises the error of an answer that is none, IncompleteRead.
    """
    _check_status(subject, answer)
    kept = bytearray()
    for text in _framed(pieces(answer)):
        kept += text
        if len(kept) > 2 * most:
            del kept[:-most]
    return bytes(kept[-most:])


def _framed(received: Iterator[bytes]) -> Iterator[bytes]:
    """The texts of frames: each has a head, the last four bytes of which are its length."""
    head, left = b"", 0
    for piece in received:
        rest = memoryview(piece)
        while rest:
            if left:
                yield bytes(rest[:left])
                rest, left = rest[left:], max(0, left - len(rest))
                continue
            wanted = _FRAME_HEAD - len(head)
            head, rest = head + bytes(rest[:wanted]), rest[wanted:]
            if len(head) == _FRAME_HEAD:
                head, left = b"", int.from_bytes(head[4:])
    if head or left:
        raise IncompleteRead(head, left)


def _check_status(subject: Subject, answer: HTTPResponse) -> None:
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise refused(subject, answer.status, _explanation(answer))


def _decoded(subject: Subject, line: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise EngineUnavailable(f"{subject} failed: the engine's answer is not JSON; try again.", subject.facts())
    return message


def _explanation(answer: HTTPResponse) -> str:
    text = whole(answer, LONGEST_LINE).decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return text or str(answer.reason)


def _pool(api: docker.APIClient, verify: Any, cert: Any) -> HTTPConnectionPool:
    # The SDK's adapter has a pool for each address that it is asked for, and closes all but the last 25: this is the
    # one for all paths.
    request = requests.PreparedRequest()
    request.url = api.base_url
    adapter = cast(HTTPAdapter, api.get_adapter(api.base_url))
    return cast(HTTPConnectionPool, adapter.get_connection_with_tls_context(request, verify, cert=cert))


@contextmanager
def _of_pool(pool: HTTPConnectionPool) -> Iterator[HTTPConnection]:
    """A connection that goes back to its pool once its answer is read, and is closed where it isn't."""
    connection = cast(HTTPConnection, pool._get_conn())  # noqa: SLF001  # urllib3's own reading has no deadline
    with ExitStack() as unread:
        unread.callback(connection.close)
        yield connection
        unread.pop_all()
    pool._put_conn(connection)  # noqa: SLF001  # as above


def _call(request: requests.PreparedRequest) -> str:
    """What a request asks for, without what it asks it of: `POST /containers/{id}/start`, `GET /containers/json`."""
    kind, *rest = _VERSION.sub("", urlsplit(str(request.url)).path).lstrip("/").split("/")
    *names, verb = rest or [""]
    if verb not in _VERBS:
        names, verb = rest, ""
    return f"{request.method} /{kind}{'/{id}' if names else ''}{f'/{verb}' if verb else ''}"


def _answer(connection: HTTPConnection, request: requests.PreparedRequest) -> HTTPResponse:
    connection.request(
        str(request.method),
        request.path_url,
        body=request.body,
        # A small answer could unfold to a huge one.
        headers={**request.headers, "Accept-Encoding": "identity"},
        preload_content=False,
        decode_content=False,
    )
    answer = connection.getresponse()
    if answer.get_redirect_location():
        raise requests.TooManyRedirects(f"it leads elsewhere, with status {answer.status}")
    return answer
