"""Telling the cut-over hook: a signed HTTP POST that must be answered 2xx."""

import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus

from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from worker.errors import CutoverFailed
from worker.interrupt import Interrupt
from worker.settings import settings
from worker.spec import Cutover
from worker.wire import Deadline, connected

_LONGEST_ANSWER = 200
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def post(hook: Cutover, told: Mapping[str, object], *, about: str, interrupt: Interrupt | None = None) -> None:
    """Tell the hook, once; `about` says in an error what was to happen.

    The hook's timeout is for all of it, but for the look-up of its name. Of an answer's body 200 bytes are read.

    With `DW_CUTOVER_KEY`, `X-DW-Signature` is `sha256=` and the HMAC-SHA256 of the very bytes of the body. Redirects
    aren't followed: what is sent is for the one who was named.

    Raises CutoverFailed, retryable where the hook is away or overloaded; Interrupted, once connected, as soon as
    `interrupt` is set: the hook may have been told.
    """
    body = json.dumps(told).encode()
    try:
        status, text = _answer(hook, body, interrupt or Interrupt())
    except TimeoutError as error:
        raise _failed(hook, about, f"gave no answer within {hook.timeout:g} s", retryable=True) from error
    except (HTTPError, http.client.HTTPException, OSError) as error:
        raise _failed(hook, about, f"gave no answer ({_line(str(error))})", retryable=True) from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        said = f" ({_line(text)})" if text.strip() else ""
        may_later = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER
        raise _failed(hook, about, f"answered {status}{said}", retryable=may_later)


def _answer(hook: Cutover, body: bytes, interrupt: Interrupt) -> tuple[int, str]:
    """The status that the hook answers, and the beginning of what it says."""
    headers = {"Content-Type": "application/json", "User-Agent": "docker-watcher", **_signature(body)}
    url, deadline = parse_url(hook.url), Deadline(hook.timeout)
    place = f"{url.host}:{url.port}" if url.port else f"{url.host}"
    connection = (
        http.client.HTTPSConnection(place, context=ssl.create_default_context())
        if url.scheme == "https"
        else http.client.HTTPConnection(place)
    )
    with connected(connection, deadline, interrupt):
        connection.request("POST", url.request_uri, body, headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read(_LONGEST_ANSWER).decode(errors="replace")


def _signature(body: bytes) -> dict[str, str]:
    key = settings().cutover_key
    if key is None:
        return {}
    return {"X-DW-Signature": f"sha256={hmac.new(key.get_secret_value().encode(), body, hashlib.sha256).hexdigest()}"}


def _failed(hook: Cutover, about: str, what: str, *, retryable: bool) -> CutoverFailed:
    # Some hooks have a token in their query.
    place = hook.url.partition("?")[0]
    return CutoverFailed(
        f"{about} failed: the cut-over hook {place} {what}; see what serves it, then deploy again.",
        {"step": "cutover", "url": place, "retryable": retryable},
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_ANSWER]
