"""Having whatever a process sends signed, where it has a key: beat and Flower, whose messages are a producer's.

A worker signs nothing: what it sends on has its producer's signature, or needs none.
"""

from typing import Any

from celery.signals import before_task_publish

from worker.settings import settings


def sign_what_is_sent(**_: object) -> None:
    """Sign from now on."""
    before_task_publish.connect(_sign)


def _sign(body: tuple[Any, ...], headers: dict[str, Any], **_: object) -> None:
    if settings().producer or settings().signing_key_file:
        from worker.signature import sign  # noqa: PLC0415  # who has no key needs none of what it takes to sign

        sign(body, headers)
