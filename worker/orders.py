"""In which order things were asked of a stage: that of their messages in the queue, which decides what is newest."""

from worker.settings import Settings

NUMBERED_TASKS = ("docker.deploy", "docker.rollback", "docker.stage")
"""Those whose messages ask something of a stage."""
REMEMBERED_SECONDS = 86_400
"""How long a message keeps its number, and a deployment that was cancelled before it came is remembered."""


def key_prefix(values: Settings) -> str:
    """What all keys of an installation begin with."""
    return f"dw:{values.namespace}:"


def numbered_by_broker(values: Settings) -> tuple[str | int, ...]:
    """What the transport needs to number messages as they leave the queue; nothing where the records are elsewhere."""
    if (values.broker_url or values.redis_url) != values.redis_url:
        return ()
    prefix = key_prefix(values)
    return (f"{prefix}order:", f"{prefix}orders", REMEMBERED_SECONDS, *NUMBERED_TASKS)
