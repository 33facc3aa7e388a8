"""Signed messages: who asks for something, so that writing to the broker alone gets nobody anywhere.

With `DW_REQUIRE_SIGNATURE`, a message is taken only with the header `dw_signature`, an object of `producer`, `time`
(seconds since 1970), `nonce` (16 to 64 letters, digits, `-` or `_`, never used again) and `value`: base64 of the
Ed25519 signature of these lines, each but the last followed by a line feed, in UTF-8:

    docker-watcher/1
    the task's name
    the task's id
    the producer's name
    the time
    the nonce
    the keyword arguments, as RFC 8785 writes JSON

The producer's public key, and the stages that it may touch, are in the policy file. A message is good for
`DW_SIGNATURE_SECONDS`, and once: until it is done it may be given out again, with the id that it was signed with.

Celery's own `auth` serializer isn't used: it signs a message's body, and the task's name and id are in its headers; it
knows no time and no nonce, so that a message can be sent again; and no client but Celery's speaks it.
"""

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import StringConstraints

from worker.errors import PolicyDenied, SpecInvalid
from worker.policy import Producer, matches, policy
from worker.record import Step
from worker.settings import Name, SettingsInvalid, settings
from worker.spec import Arguments, parse

HEADER = "dw_signature"
UNSIGNED_TASKS = {*(step.task for step in Step if step is not Step.ENDED), "docker.reconcile"}
"""What workers send each other: nothing in such a message decides what is done."""
ALL_STAGES = "*/*"
"""As a pattern of a producer: it may touch any stage; likewise `**`."""
MOST_AHEAD = 300
"""Seconds that a producer's clock may be ahead of a worker's."""


class Signature(Arguments):
    """What the header holds."""

    producer: Name
    time: int
    nonce: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
    value: Annotated[str, StringConstraints(max_length=128)]

    @property
    def expires_in(self) -> float:
        """Seconds for which it is still good."""
        return self.time + settings().signature_seconds - time.time()


def verified(task: str, task_id: str, arguments: Mapping[str, object], header: object) -> Signature:
    """Read a message's signature, and see that a known producer has made it for this very message.

    Raises PolicyDenied.
    """
    try:
        signature = parse(Signature, HEADER, header if isinstance(header, dict) else {})
    except SpecInvalid:
        raise _refused(task, "its message isn't signed", "have its producer sign it") from None
    producer = policy().producers.get(signature.producer)
    if producer is None:
        raise _refused(task, f"there is no producer {signature.producer}", "add it to the policy file")
    try:
        text = _signed_text(signature, task, task_id, arguments)
        producer.key.verify(base64.b64decode(signature.value, validate=True), text)
    except (InvalidSignature, ValueError, rfc8785.CanonicalizationError):
        raise _refused(
            task, f"it isn't signed by {signature.producer}", "see that its key fits, and that nothing changed it since"
        ) from None
    if signature.time > time.time() + MOST_AHEAD:
        raise _refused(task, "it was signed in the future", f"see to {signature.producer}'s clock, and this worker's")
    if signature.expires_in <= 0:
        raise _refused(task, f"it was signed more than {settings().signature_seconds:g} s ago", "ask again")
    return signature


def _refused(task: str, reason: str, advice: str) -> PolicyDenied:
    return PolicyDenied(f"{task} is refused: {reason}; {advice}.", {"step": "accept"})


def _signed_text(signature: Signature, task: str, task_id: str, arguments: Mapping[str, object]) -> bytes:
    lines = ("docker-watcher/1", task, task_id, signature.producer, str(signature.time), signature.nonce)
    return "".join(f"{line}\n" for line in lines).encode() + rfc8785.dumps(dict(arguments))  # type: ignore[arg-type]  # JSON, as it was decoded from


def sign(body: tuple[Any, ...], headers: dict[str, Any], **_: object) -> None:
    """Sign a message that is about to be sent, where this process has a key, and the message no signature yet.

    Raises SettingsInvalid.
    """
    if HEADER not in headers and (signature := own_signature(headers["task"], headers["id"], body[1])):
        headers[HEADER] = signature


def own_signature(task: str, task_id: str, arguments: Mapping[str, object]) -> dict[str, object] | None:
    """What the header of a message that this process sends now has to hold, where it has a key.

    Raises SettingsInvalid.
    """
    key, producer = signing_key(), settings().producer
    return signature_of(key, producer, task, task_id, arguments) if key and producer else None


def signature_of(
    key: Ed25519PrivateKey, producer: str, task: str, task_id: str, arguments: Mapping[str, object]
) -> dict[str, object]:
    """What the header of a message that this producer sends now has to hold."""
    unsigned = Signature(producer=producer, time=int(time.time()), nonce=secrets.token_urlsafe(24), value="")
    text = _signed_text(unsigned, task, task_id, arguments)
    return {**unsigned.model_dump(), "value": base64.b64encode(key.sign(text)).decode()}


@cache
def signing_key() -> Ed25519PrivateKey | None:
    """The key that this process signs with, if it has one.

    Raises SettingsInvalid.
    """
    path = settings().signing_key_file
    if (path is None) != (settings().producer is None):
        raise SettingsInvalid("Wrong settings: DW_PRODUCER and DW_SIGNING_KEY_FILE go together: set both, or neither.")
    return read_key(path) if path else None


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that a producer signs with.

    Raises SettingsInvalid.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  # as in worker.policy

    wrong = f"Wrong settings: DW_SIGNING_KEY_FILE: {path}"
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsInvalid(f"{wrong} is readable by others: chmod 600 it.")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsInvalid(f"{wrong}: {error.strerror}.") from None
    except (ValueError, TypeError):  # TypeError: it has a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsInvalid(f"{wrong} must be an Ed25519 private key, as `openssl genpkey -algorithm ed25519` makes.")
    return key


_sender: ContextVar[Producer | None] = ContextVar("sender", default=None)


@contextmanager
def sent_by(producer: str) -> Iterator[None]:
    """Whatever is done in this block, this producer has asked for."""
    token = _sender.set(policy().producers[producer])
    try:
        yield
    finally:
        _sender.reset(token)


def may_touch(where: str) -> bool:
    """Whether whoever has asked for what is done here may touch a stage; where nobody signs, anybody may."""
    sender = _sender.get()
    if sender is None or {ALL_STAGES, "**"} & set(sender.stages):
        return True
    return where != ALL_STAGES and any(matches(pattern, where) for pattern in sender.stages)


def check_stage(where: str) -> None:
    """Refuse a stage that whoever has asked may not touch.

    Raises PolicyDenied.
    """
    if not may_touch(where):
        raise PolicyDenied(
            f"Stage {where} is not the sender's to touch: ask with the key of a producer whose `stages` have it.",
            {"step": "accept"},
        )
