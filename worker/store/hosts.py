"""The hosts of an installation: which are there, what each has told of itself, and which containers it has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import redis
from pydantic import BaseModel, ConfigDict

from worker.labels import SHORTEST_ID
from worker.settings import Settings
from worker.store.scripts import scripts


class Announcement(BaseModel):
    """What a host's workers tell of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    engine: str | None
    """The engine's version; None where it doesn't answer."""
    cpus: int = 1
    containers: int = 0
    """How many run, of whomever (`ContainersRunning`)."""
    slots: int
    """How many jobs beside pulls a worker of it does at a time (`DW_CONCURRENCY`)."""
    free_disk: int | None = None
    """Bytes, where the engine keeps images and containers; None where that isn't the worker's to see."""
    trouble: str | None = None
    """Why the engine doesn't answer, in a sentence."""
    network: Literal["spare", "plain", "missing"] | None = None
    """Whether the engine has the shared network, and with addresses that are spare; None of older workers."""
    clock: float | None = None
    """The time when this was told, by the worker's clock, in seconds since 1970; None of older workers."""


@dataclass(frozen=True)
class Host:
    """A host as others see it."""

    name: str
    told: Announcement
    silent_for: float
    """Seconds since it was heard of."""
    is_away: bool
    """For so long that nothing new is given to it, and what it was at is nobody's when its time is over."""
    is_drained: bool
    under_way: int
    """Deployments, and orders to stages, that it is at or has to do."""
    clock_ahead: float | None
    """Seconds that its clock is ahead of Redis', and some hundredths less; None of older workers."""


@dataclass(frozen=True)
class ToldContainer:
    """A container of a host, as that has told of it: as JSON."""

    id: str
    name: str
    stage: str
    text: str


class Hosts:
    """What is known of hosts; all raise `redis.RedisError` where Redis can't be had. Keys:

    - `hosts` (hash): what each tells of itself
    - `hosts:seen`, `hosts:load` (sorted sets): when each was heard of, and how much each has to do for a processor
    - `hosts:cpus` (hash), `hosts:drained` (set)
    - `containers:<host>` (hash): the ids of its containers, and the stage and name of each
    - `listed:<project>/<stage>` (hash): the containers of a stage by id: the host, and what that tells of it
    - `located` (hash): which host has the container of a name, or of the first characters of an id
    - `announced:<host>`, `telling:<host>:<stage>`: gone once one of its workers is to say so again; `rescued:<host>`,
      once a worker of another one is to look after what it has left
    - `told:<host>` (hash): since when its containers of a stage, or of all, are told of
    """

    def __init__(self, connection: redis.Redis, prefix: str, settings: Settings) -> None:
        self._redis = connection
        self._prefix = prefix
        self._settings = settings
        run = scripts(connection)
        self._announce, self._tell = run["announce"], run["tell"]

    def may_announce(self) -> bool:
        """Whether no worker of this host has said of late that it is there; who is told so is to do it."""
        milliseconds = int(self._settings.heartbeat_seconds * 900)
        return bool(self._redis.set(self._key(f"announced:{self._settings.host}"), 1, nx=True, px=milliseconds))

    def announce(self, told: Announcement) -> None:
        """Say that this host is there, and what it has."""
        names = ("hosts", "hosts:seen", "hosts:load", "hosts:cpus", "hosts:drained")
        containers = "" if told.engine is None else told.containers
        self._announce(
            keys=[self._key(each) for each in names],
            args=[self._prefix, self._settings.host, told.model_dump_json(), told.cpus, containers],
        )

    def all(self) -> list[Host]:
        """All hosts that were ever heard of, by name."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(self._key("hosts"))
            pipeline.zrange(self._key("hosts:seen"), 0, -1, withscores=True)
            pipeline.smembers(self._key("hosts:drained"))
            pipeline.time()
            told, seen, drained, (seconds, microseconds) = pipeline.execute()
            for name, _ in seen:
                pipeline.zcard(self._key(f"alarms:{name}"))
            under_way = pipeline.execute()
        now = seconds + microseconds / 1e6
        announced = {name: Announcement.model_validate_json(text) for name, text in told.items()}
        return sorted(
            (
                Host(
                    name=name,
                    told=announced[name],
                    silent_for=now - at,
                    is_away=now - at >= self._settings.away_seconds,
                    is_drained=name in drained,
                    under_way=busy,
                    clock_ahead=None if (clock := announced[name].clock) is None else clock - at,
                )
                for (name, at), busy in zip(seen, under_way, strict=True)
                if name in announced
            ),
            key=lambda each: each.name,
        )

    def away(self) -> list[str]:
        """The hosts that nothing was heard of for `away_seconds`."""
        seconds, microseconds = self._redis.time()
        latest = seconds + microseconds / 1e6 - self._settings.away_seconds
        return [str(each) for each in self._redis.zrangebyscore(self._key("hosts:seen"), "-inf", latest)]

    def is_there(self, host: str) -> bool:
        """Whether something was heard of a host of late."""
        seen = self._redis.zscore(self._key("hosts:seen"), host)
        return seen is not None and self._redis.time()[0] - seen < self._settings.away_seconds

    def may_rescue(self, host: str) -> bool:
        """Whether nobody has looked after what a host that is away has left of late; who is told so is to do it."""
        milliseconds = int(self._settings.heartbeat_seconds * 900)
        return bool(self._redis.set(self._key(f"rescued:{host}"), 1, nx=True, px=milliseconds))

    def names(self) -> list[str]:
        """The names of all hosts that were ever heard of."""
        return sorted(str(each) for each in self._redis.zrange(self._key("hosts:seen"), 0, -1))

    def is_drained(self, host: str) -> bool:
        """Whether a host is to take on nothing new."""
        return bool(self._redis.sismember(self._key("hosts:drained"), host))

    def drain(self, host: str) -> None:
        """Give a host nothing new from now on."""
        with self._redis.pipeline() as pipeline:
            pipeline.sadd(self._key("hosts:drained"), host)
            pipeline.zrem(self._key("hosts:load"), host)
            pipeline.execute()

    def end_drain(self, host: str) -> None:
        """Let a host take on what is new again, from its next heartbeat on."""
        self._redis.srem(self._key("hosts:drained"), host)

    def forget(self, host: str) -> None:
        """Forget a host, and the containers that it had, until it announces itself again."""
        self.tell((), host=host)
        with self._redis.pipeline() as pipeline:
            pipeline.hdel(self._key("hosts"), host)
            pipeline.hdel(self._key("hosts:cpus"), host)
            for each in ("hosts:seen", "hosts:load"):
                pipeline.zrem(self._key(each), host)
            pipeline.srem(self._key("hosts:drained"), host)
            pipeline.delete(self._key(f"stages:{host}"))
            pipeline.execute()

    def may_tell(self, stage: str, seconds: float) -> bool:
        """Whether no worker of this host has begun so lately to tell of a stage, or of all; if so, the caller is to."""
        key = self._key(f"telling:{self._settings.host}:{stage}")
        return bool(self._redis.set(key, 1, nx=True, px=int(seconds * 1000)))

    def note_told(self, stage: str, began: float) -> None:
        """Note since when it is told what this host has of a stage, or of all, in seconds since 1970 by its clock."""
        key = self._key(f"told:{self._settings.host}")
        with self._redis.pipeline(transaction=not stage) as pipeline:
            if not stage:
                pipeline.delete(key)
            pipeline.hset(key, stage, began)
            pipeline.execute()

    def is_told_since(self, stage: str, since: float) -> bool:
        """Whether what this host has of a stage, or of all, was told since then, by its own clock."""
        told = self._redis.hmget(self._key(f"told:{self._settings.host}"), stage, "")
        return any(float(each) >= since for each in told if each)

    def tell(self, containers: Collection[ToldContainer], stage: str = "", host: str | None = None) -> None:
        """Tell which containers this host, or the one given, has; of one stage, or of all."""
        host = host or self._settings.host
        told = [text for each in containers for text in (each.id, each.name, each.stage, each.text)]
        self._tell(
            keys=[self._key(f"containers:{host}"), self._key("located")], args=[self._prefix, host, stage, *told]
        )

    def listed(self, stages: Sequence[str]) -> list[tuple[str, str]]:
        """The containers of some stages, of all hosts: the host's name, and what it has told of one."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in stages:
                pipeline.hvals(self._key(f"listed:{each}"))
            found = pipeline.execute()
        return [(host, text) for told in found for host, _, text in (each.partition(" ") for each in told)]

    def stages(self, but: str) -> list[str]:
        """The stages that any host but this one has a container of."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in self.names():
                if each == but:
                    continue
                pipeline.hvals(self._key(f"containers:{each}"))
            found = pipeline.execute()
        return sorted({stage for told in found for stage, _, _ in (each.partition(" ") for each in told)})

    def of_stage(self, stage: str) -> set[str]:
        """The hosts that have containers of a stage."""
        return {host for host, _ in self.listed([stage])}

    def located(self, container: str) -> str | None:
        """The host that has a container of this name, or of this id; None where nobody has told of it."""
        name = container.removeprefix("/")
        by_id, by_name = self._redis.hmget(self._key("located"), name[:SHORTEST_ID], name)
        found = by_name or (by_id if len(name) >= SHORTEST_ID else None)
        return str(found) if found else None

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"
