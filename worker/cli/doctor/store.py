"""Redis itself: whether it is there, keeps what it is given, and is what workers need."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from worker.cli.doctor.finding import FAIL, OK, OPERATOR, WARN, Finding, looked
from worker.settings import settings
from worker.store import connection

OLDEST = (6, 2)
"""Since when Redis has `BLMOVE`, by which messages are taken."""
_NEARLY_FULL = 0.9
_CLOCKS_DIFFER = 1.0
_CLOCKS_ARE_WRONG = 30.0


def look() -> list[Finding]:
    """All that Redis tells of itself."""
    found = looked("redis", _redis)
    if any(each.status == FAIL for each in found):
        return found
    return [*found, *looked("clock", _clock), *looked("redis-info", _info)]


def clock(who: str, ahead: float, host: str | None = None) -> Finding:
    """How far a clock is from Redis'."""
    if abs(ahead) < _CLOCKS_DIFFER:
        return Finding("clock", OK, f"{who} and Redis' differ by less than {_CLOCKS_DIFFER:g} s", host=host)
    status = FAIL if abs(ahead) >= _CLOCKS_ARE_WRONG else WARN
    way = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock", status, f"{who} is {abs(ahead):.1f} s {way} Redis'", "have NTP set both (timedatectl)", host
    )


def _redis() -> Iterator[Finding]:
    where = urlsplit(settings().redis_url)
    address = f"{where.hostname}:{where.port or 6379}{where.path}"
    began = time.monotonic()
    try:
        connection().ping()
    except AuthenticationError as error:
        reason = " ".join(str(error).split())
        hint = "give DW_REDIS_URL the right user and password: redis://USER:PASSWORD@HOST:PORT/0"
        yield Finding("redis", FAIL, f"{address} refuses the login ({reason})", hint)
        return
    except RedisError as error:
        reason = " ".join(str(error).split())
        yield Finding(
            "redis",
            FAIL,
            f"{address} can't be reached ({reason})",
            "start it, or set DW_REDIS_URL to where it is; what was enqueued and recorded is there once it is back",
        )
        return
    yield Finding("redis", OK, f"{address} answers in {1000 * (time.monotonic() - began):.1f} ms")


def _clock() -> Iterator[Finding]:
    before = time.time()
    seconds, microseconds = connection().time()
    yield clock("this machine's clock", (before + time.time()) / 2 - (seconds + microseconds / 1e6))


def _info() -> Iterator[Finding]:
    try:
        told: dict[str, Any] = connection().info()
    except NoPermissionError:
        yield Finding(
            "rights",
            WARN,
            "Redis denies INFO to this user: its version, persistence and memory can't be told",
            OPERATOR,
        )
        return
    yield _version(told)
    yield _role(told)
    yield from _persistence(told)
    yield _memory(told)


def _version(told: dict[str, Any]) -> Finding:
    name, version = ("Valkey", told["valkey_version"]) if "valkey_version" in told else ("Redis", told["redis_version"])
    numbers = tuple(int(part) for part in str(version).split(".")[:2])
    if numbers < OLDEST:
        least = ".".join(map(str, OLDEST))
        return Finding("redis-version", FAIL, f"{name} {version} is too old", f"upgrade it to {least} at least")
    return Finding("redis-version", OK, f"{name} {version}")


def _role(told: dict[str, Any]) -> Finding:
    if told.get("role") == "master":
        return Finding("redis-role", OK, "takes writes")
    return Finding("redis-role", FAIL, "is a replica, which takes no writes", "set DW_REDIS_URL to its primary")


def _persistence(told: dict[str, Any]) -> Iterator[Finding]:
    if not int(told.get("aof_enabled", 0)):
        yield Finding(
            "persistence",
            WARN,
            "Redis writes no append-only file: killed, it loses deployments under way, credentials and history",
            "`redis-cli CONFIG SET appendonly yes`, and `appendonly yes` in redis.conf",
        )
    elif told.get("aof_last_write_status") != "ok":
        yield Finding(
            "persistence", FAIL, "Redis can't write its append-only file", "see its log, and the room on its disk"
        )
    else:
        yield Finding("persistence", OK, "Redis writes an append-only file")
    if told.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "persistence",
            FAIL,
            "Redis' last snapshot failed, and unless it is told otherwise it takes no writes then",
            "see its log, and the room on its disk",
        )


def _memory(told: dict[str, Any]) -> Finding:
    most, used = int(told.get("maxmemory", 0)), int(told["used_memory"])
    policy = told.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Finding(
            "memory",
            FAIL if most else WARN,
            f"Redis throws keys away when it is full (maxmemory-policy {policy}): records and credentials too",
            "`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf",
        )
    room = f"{used / 1e6:.1f} MB of {most / 1e6:.1f} MB" if most else f"{used / 1e6:.1f} MB, with no bound"
    if most and used > _NEARLY_FULL * most:
        return Finding(
            "memory", FAIL if used >= most else WARN, f"Redis is nearly full: {room}", "raise maxmemory in redis.conf"
        )
    return Finding("memory", OK, f"Redis uses {room}, and evicts nothing")
