"""What one look of `dw doctor` has found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from worker.errors import DeploymentError, Unanswered

OK, WARN, FAIL = "ok", "warn", "fail"
OPERATOR = "run it as a user with the operator's rights (compose/redis.acl)"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    check: str
    status: str
    """`ok`; `warn` where something may go wrong, or can't be told; `fail` where something doesn't work."""
    message: str
    hint: str | None = None
    host: str | None = None
    """The host that it is about, where it is about one."""

    def described(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def looked(check: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look has found, also where it was refused, or failed."""
    return list(_looked(check, look))


def _looked(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except NoPermissionError as error:
        yield Finding(check, WARN, f"can't be told: Redis denies it to this user ({_line(error)})", OPERATOR)
    except RedisError as error:
        yield Finding(check, FAIL, f"can't be told: Redis doesn't answer ({_line(error)})", "see the line on redis")
    except Unanswered as error:
        yield Finding(check, FAIL, str(error))
    except DeploymentError as error:
        yield Finding(check, FAIL, error.message)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
