"""Telling the cut-over hook: a signed HTTP POST that must be answered 2xx."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from http import HTTPStatus

import urllib3

from worker.errors import CutoverFailed
from worker.settings import settings
from worker.spec import Cutover

_LONGEST_ANSWER = 200
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_pool = urllib3.PoolManager()


def post(hook: Cutover, told: Mapping[str, object], *, about: str) -> None:
    """Tell the hook, once; `about` says in an error what was to happen.

    With `DW_CUTOVER_KEY`, `X-DW-Signature` is `sha256=` and the HMAC-SHA256 of the very bytes of the body. Redirects
    aren't followed: what is sent is for the one who was named.

    Raises CutoverFailed; retryable where the hook is away or overloaded.
    """
    body = json.dumps(told).encode()
    try:
        response = _pool.request(
            "POST",
            hook.url,
            body=body,
            headers={"Content-Type": "application/json", "User-Agent": "docker-watcher", **_signature(body)},
            timeout=urllib3.Timeout(total=hook.timeout),
            retries=False,
            preload_content=False,
        )
        with response:
            text = response.read(_LONGEST_ANSWER).decode(errors="replace")
    except urllib3.exceptions.ReadTimeoutError as error:
        raise _failed(hook, about, f"gave no answer within {hook.timeout:g} s", retryable=True) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # What comes before the last colon is urllib3's own: objects and their addresses.
        reason = _line(str(error)).rpartition(": ")[2]
        raise _failed(hook, about, f"gave no answer ({reason})", retryable=True) from error
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        said = f" ({_line(text)})" if text.strip() else ""
        may_later = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status in _LATER
        raise _failed(hook, about, f"answered {response.status}{said}", retryable=may_later)


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
