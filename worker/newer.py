"""Leaving to workers of a newer version of this code what only they know, while older ones are at the same queue."""

import structlog
from redis.exceptions import RedisError

from worker.store import deployments

log = structlog.get_logger()

LEFT_FOR = 1.0
"""Seconds after which a message that was left comes again, to any worker."""


def newer_are_there() -> bool:
    """Whether there are such workers, or nobody can tell: nothing is refused that one of them would take."""
    try:
        return deployments().newer_are_there()
    except RedisError as error:
        log.warning("versions_not_known", error=str(error))
        return True


def leave_step(deployment_id: object) -> None:
    """Have a step be sent anew by one that knows it."""
    try:
        deployments().leave(str(deployment_id))
    except RedisError as error:
        # Its alarm is set already, a lease later.
        log.warning("step_not_left", deployment=str(deployment_id), error=str(error))
