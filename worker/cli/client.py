"""Asking workers for something as this machine's settings have it."""

from collections.abc import Mapping
from functools import cache

from worker.calls import Calls
from worker.settings import settings


@cache
def calls() -> Calls:
    """Those of this process' settings.

    Raises SettingsInvalid.
    """
    values = settings()
    signs = values.producer or values.signing_key_file
    return Calls(
        values.redis_url,
        broker_url=values.broker_url,
        result_backend=values.result_backend,
        sign=_sign if signs else None,
    )


def _sign(task: str, task_id: str, arguments: Mapping[str, object]) -> Mapping[str, object] | None:
    from worker.signature import own_signature  # noqa: PLC0415  # who has no key needs none of what it takes to sign

    return own_signature(task, task_id, arguments)
