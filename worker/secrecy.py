"""What looks like a secret, and how a text is shown without those in it."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 4
"""Characters of the shortest secret that is taken out of texts: shorter ones would blot out half of what is said, and
hide nothing."""

_NAME = re.compile(
    r"(password|passwd|passphrase|((^|[_./-])(secret|token|(api|access|private|secret)[_.-]?key|credentials?)))$",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")


def is_secret_name(name: str) -> bool:
    """Whether a variable, a label or a key has the name of a secret; `DB_PASSWORD_FILE` hasn't, it names a file."""
    return bool(_NAME.search(name))


def has_password(text: str) -> bool:
    """Whether a text holds a URL with a password in it."""
    return bool(_PASSWORD_IN_URL.search(text))


def masked(value: Any) -> Any:
    """JSON as it may be shown: no value under a secret's name, and no password in a URL."""
    if isinstance(value, Mapping):
        return {name: HIDDEN if is_secret_name(str(name)) else masked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    return _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}", value) if isinstance(value, str) else value


def without(secrets: Iterable[str], text: str) -> str:
    """A text that somebody else wrote, less secrets that it may repeat, as they are or as programs write them.

    Line by line too, as logs are cut between lines.
    """
    parts = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part.strip()) >= SHORTEST}
    forms = {form for part in parts for form in _forms(part.strip()) if len(form) >= SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def longest(secrets: Iterable[str]) -> int:
    """How many characters where a text was cut may be of one of these, no longer whole and so not found."""
    # As long as in JSON.
    return 6 * max(map(len, secrets), default=0)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, as in JSON (once, and in JSON within JSON; by Python and by Go), URLs, Python and base64."""
    once = {secret, *_in_json(secret)}
    yield from once
    for each in once:
        yield from _in_json(each)
        yield from _in_base64(each.encode())
    yield from (quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])


def _in_json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", escaped)


def _in_base64(data: bytes) -> Iterator[str]:
    """What is the same in all that holds these bytes, at each of the three places where they can begin."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + data).decode()[first:last]
