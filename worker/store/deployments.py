"""Deployments' records in Redis; each change is one Lua script, so that it happens whole or not at all."""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from worker.errors import DeploymentError
from worker.orders import REMEMBERED_SECONDS
from worker.record import ON_FAILURE, Claim, Found, Step, Version, first_step
from worker.reference import ImageReference
from worker.settings import Settings
from worker.spec import Asked, DeploymentSpec, StageArguments
from worker.store import reading
from worker.store.reading import Instance, Past, Standing
from worker.store.scripts import scripts
from worker.version import VERSION, needed

_MOST_ALARMS_AT_ONCE = 100
_MOST_STAGES_AT_ONCE = 100
"""So many are looked at in one write: what others ask of Redis comes in between."""
_MOST_RECORDS_AT_ONCE = 500
_LEASES_KNOWN = 2
"""How long a version counts as there, once nobody says so any more."""
_STEPS = {step.value for step in Step}


@dataclass(frozen=True)
class Due:
    """A step that is due, to be sent to the workers of its host."""

    id: str
    step: Step
    host: str


class Committed(StrEnum):
    """What became of a commit."""

    COMMITTED = "committed"
    LOST = "lost"
    """Refused: another worker has claimed the step since."""
    CANCELLED = "cancelled"
    """Refused: the deployment was cancelled meanwhile, and the claim is to end it."""


@dataclass(frozen=True)
class Accepted:
    """What became of what was asked for."""

    due: Due | None
    """Its own first step, or the report of one that is superseded: itself, or the one that waited."""
    away: str | None
    """The host that is to do it, where nothing has been heard of that for a while."""
    is_nowhere: bool
    """It wasn't recorded, as no host takes on anything."""


@dataclass(frozen=True)
class Cancelling:
    """What became of a cancel: `unknown`, `ended`, `late` or `cancelling`."""

    outcome: str
    due: Due | None
    """The step that ends the deployment, where nobody is at it."""


@dataclass(frozen=True)
class Mended:
    """What was wrong with stages."""

    stale: Sequence[str]
    """The ids of deployments that held one, and had ended or have no record."""
    resumed: Sequence[str]
    """The ids of deployments that nobody would have driven any more."""


@dataclass(frozen=True)
class Moved:
    """What another host has done with a stage."""

    host: str | None
    """Where the live version is; None where the stage was removed."""
    created: float
    """When that was asked for, in seconds since 1970."""


@dataclass(frozen=True)
class NeededImages:
    """The images that deployments need, or may go back to: by id, and by what the engine calls them."""

    ids: frozenset[str]
    names: frozenset[str]


@dataclass(frozen=True)
class Alarms:
    """Steps that are due and that nobody holds, and the seconds until there may be more."""

    steps: Sequence[Due]
    until_next: float | None


@dataclass(frozen=True)
class Closed:
    """What became of the end of a deployment."""

    is_first: bool
    """Nobody had ended it before."""
    due: Due | None
    """The first step of the one that has the stage now."""


@dataclass(frozen=True)
class Workload:
    """What a host is at and has yet to do, orders to stages among it; times are in seconds."""

    running: int
    waiting: int
    """For their stage."""
    oldest: float
    """Since the first of them was accepted; 0 without any, as the others."""
    overdue: float
    """For how long the step is due that has waited the longest for a worker."""
    past_deadline: float
    """Since the deadline of the one that is the latest."""


class Deployments:
    """The records of one installation, of deployments and of orders to their stages, and the alarms of one host.

    All raise `redis.RedisError` where Redis can't be had. Keys:

    - `deployment:<id>` (hash): the record
    - `stage:<project>/<stage>` (hash): who runs, who waits, who is live, and the newest that has succeeded (the newest
      restart by itself)
    - `stages:<host>` (set): those of these that the host has a part in
    - `stages` (set): those of them that were noted before there were several hosts, until their host takes them over
    - `history:<project>/<stage>`, `lives:<project>/<stage>` (lists): the last that have ended, and that were live
    - `abandoned:<host>` (set): deployments that others ended while it was away, and that had stopped containers of it
    - `alarms:<host>` (sorted set): when to send a deployment's step again
    - `order:<id>`, `orders` (numbers): in which order messages were taken from the queue
    - `versions` (sorted set): the versions of this code that workers are of, and when one last said so
    - `cancelled:<id>`: cancelled before its message came
    - `reconciled:<host>`: gone once the host is to be reconciled again
    """

    def __init__(self, connection: redis.Redis, prefix: str, settings: Settings) -> None:
        self._redis = connection
        self._prefix = prefix
        self._settings = settings
        self._scripts = scripts(connection)

    def is_known(self, deployment_id: str) -> bool:
        """Whether a deployment was accepted."""
        return bool(self._redis.exists(self._record(deployment_id)))

    def stage_of(self, deployment_id: str) -> str | None:
        """The stage, as in `shop/staging`, that a deployment is of, where it was accepted."""
        stage = self._redis.hget(self._record(deployment_id), "stage")
        return str(stage) if stage else None

    def receive(self, deployment_id: str) -> None:
        """Note that a message was taken from the queue: the order in which they are decides which one is newest."""
        self._run(
            "receive",
            keys=[self._key("order", deployment_id), f"{self._prefix}orders"],
            args=[REMEMBERED_SECONDS],
        )

    def accept(
        self, deployment_id: str, asked: Asked, rollback_to: Version | None = None, traceparent: str | None = None
    ) -> Accepted:
        """Record what is asked for, which takes its stage or waits for it; a second run changes nothing.

        It is for the host that it names; or else for the one where its stage is, unless that is drained; or else for
        the least loaded one that is there. One that goes back to a version knows its image beforehand.
        """
        timeout = asked.timeout if isinstance(asked, DeploymentSpec) else None
        host = asked.host if isinstance(asked, DeploymentSpec) else None
        found = rollback_to.found if rollback_to else Found()
        became, due, step, its_host, away = self._run(
            "accept",
            keys=[
                self._record(deployment_id),
                self._stage(asked),
                self._key("order", deployment_id),
                f"{self._prefix}orders",
                self._key("cancelled", deployment_id),
                self._key("listed", asked.where),
            ],
            args=[
                self._prefix,
                deployment_id,
                self._settings.host,
                asked.where,
                asked.model_dump_json(exclude_defaults=True),
                timeout or self._settings.deploy_timeout,
                first_step(asked),
                Step.REPORT,
                self._settings.lease_seconds,
                found.model_dump_json(exclude_defaults=True),
                rollback_to.deployment_id if rollback_to else "",
                host or "",
                self._settings.away_seconds,
                needed(asked.model_fields_set),
                traceparent or "",
            ],
        )
        its_step = _due(due, step, its_host)
        return Accepted(its_step, away or None, is_nowhere=became == "nowhere")

    def cancel(self, deployment_id: str) -> Cancelling:
        """Have a deployment end, if it isn't past the point where it can; one that is yet to come ends once it does."""
        outcome, step, its_host = self._run(
            "cancel",
            keys=[self._record(deployment_id), self._key("cancelled", deployment_id)],
            args=[self._prefix, deployment_id, REMEMBERED_SECONDS, self._settings.lease_seconds, VERSION, *ON_FAILURE],
        )
        return Cancelling(outcome, _due(deployment_id, step, its_host))

    def hear(self, deployment_id: str) -> Due | None:
        """Have a deployment that waits for its container look at it now, as something has happened to that.

        Returns the step to be sent, where nobody is at it; who is may have looked too early, and its `wait` is none.
        """
        its_host = self._run(
            "hear",
            keys=[self._record(deployment_id)],
            args=[self._prefix, deployment_id, Step.PROVE, self._settings.lease_seconds],
        )
        return Due(deployment_id, Step.PROVE, its_host) if its_host else None

    def leave(self, deployment_id: str) -> None:
        """Leave a step that this worker doesn't know to those that do."""
        self._run("leave", keys=[self._record(deployment_id)], args=[self._prefix, deployment_id])

    def announce_version(self) -> None:
        """Say that there is a worker of this version; said again at least every lease."""
        self._redis.zadd(f"{self._prefix}versions", {str(VERSION): self._now()})

    def newer_are_there(self) -> bool:
        """Whether there are workers of a newer version of this code."""
        since = self._now() - _LEASES_KNOWN * self._settings.lease_seconds
        known = self._redis.zrangebyscore(f"{self._prefix}versions", since, "+inf")
        return any(int(str(each)) > VERSION for each in known)

    def those_cancelled(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those of the claims whose deployment was cancelled."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for claim in claims:
                pipeline.hexists(self._record(claim.id), "cancel")
            return [claim for claim, is_so in zip(claims, pipeline.execute(), strict=True) if is_so]

    def standings(self, deployment_ids: Sequence[str]) -> dict[str, Standing]:
        """How far these deployments are; those without a record are left out."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in deployment_ids:
                pipeline.hmget(self._record(each), *reading.OF_STANDING)
            found = zip(deployment_ids, pipeline.execute(), strict=True)
        return {each: reading.standing(*fields) for each, fields in found if fields[0]}

    def claim(self, deployment_id: str, step: Step) -> Claim | None:
        """Take a step if it is due and nobody has it."""
        sure_until = time.monotonic() + self._settings.lease_seconds
        claimed = self._run(
            "claim",
            keys=[self._record(deployment_id), self._alarms()],
            args=[
                deployment_id,
                step,
                _holder(),
                self._settings.lease_seconds,
                self._settings.host,
                self._prefix,
                VERSION,
            ],
        )
        if not claimed:
            return None
        now, *fields = claimed
        return reading.claim(deployment_id, float(now), sure_until, dict(zip(fields[::2], fields[1::2], strict=True)))

    def renew(self, claim: Claim) -> bool:
        """Lengthen a lease; False if it is lost."""
        sure_until = time.monotonic() + self._settings.lease_seconds
        renewed = self._run(
            "renew",
            keys=[self._record(claim.id), self._alarms()],
            args=[claim.id, claim.fence, self._settings.lease_seconds],
        )
        if renewed:
            claim.sure_until = sure_until
        return bool(renewed)

    def advance(
        self,
        claim: Claim,
        to: Step,
        found: Found,
        error: DeploymentError | None = None,
        *,
        pause: float = 0,
        host: str | None = None,
    ) -> Committed:
        """End a claim with the next step due at once, to be sent by the caller; or after a pause, by the driver.

        `host` is whose workers are to do it, where these are not this one's.
        """
        alarm = pause or self._settings.lease_seconds
        return self._commit(claim, to, found, error, delay=pause, attempt=0, alarm=alarm, host=host)

    def wait(self, claim: Claim, seconds: float, found: Found) -> Committed:
        """End a claim with the same step due again later, as the next of a row of checks."""
        return self._commit(claim, claim.step, found, claim.error, delay=seconds, attempt=0, alarm=seconds)

    def retry(self, claim: Claim, seconds: float, trouble: DeploymentError) -> Committed:
        """End a claim with the same step due again later, as a further attempt."""
        return self._commit(
            claim,
            claim.step,
            claim.found,
            claim.error,
            delay=seconds,
            attempt=claim.attempt,
            alarm=seconds,
            trouble=trouble,
        )

    def release(self, claim: Claim, *, is_sent: bool = False) -> Committed:
        """End a claim as if it had never been: the step is due at once, to be sent by the caller or by the driver."""
        alarm = self._settings.lease_seconds if is_sent else 0
        return self._commit(
            claim, claim.step, claim.found, claim.error, delay=0, attempt=claim.attempt - 1, alarm=alarm
        )

    def close(self, claim: Claim) -> Closed:
        """End a deployment, and give its stage to the one that waits."""
        is_first, successor, step, its_host = self._run(
            "close",
            keys=[
                self._record(claim.id),
                self._alarms(),
                self._stage(claim.asked),
                self._key("history", claim.asked.where),
                self._key("lives", claim.asked.where),
            ],
            args=[
                self._prefix,
                claim.id,
                claim.fence,
                self._settings.record_ttl,
                self._settings.lease_seconds,
                self._settings.history,
                "failed" if claim.error else reading.success(claim.asked, claim.found),
                claim.error.to_json() if claim.error else "",
            ],
        )
        return Closed(bool(is_first), _due(successor, step, its_host))

    def workload(self) -> Workload:
        """What this host is at and has yet to do. Reads a few fields of each such record, and nothing of ended ones."""
        ids = [str(each) for each in self._redis.zrange(self._alarms(), 0, -1)]
        under_way: list[Sequence[str]] = []
        for first in range(0, len(ids), _MOST_RECORDS_AT_ONCE):
            with self._redis.pipeline(transaction=False) as pipeline:
                for each in ids[first : first + _MOST_RECORDS_AT_ONCE]:
                    pipeline.hmget(self._record(each), "step", "created", "due", "deadline")
                under_way += [fields for fields in pipeline.execute() if all(fields)]
        waiting = sum(step == Step.EXPIRE for step, *_ in under_way)
        now = self._now()
        first_created, first_due, first_deadline = (
            min((float(fields[place]) for fields in under_way), default=now) for place in (1, 2, 3)
        )
        return Workload(
            running=len(under_way) - waiting,
            waiting=waiting,
            oldest=max(0.0, now - first_created),
            overdue=max(0.0, now - first_due),
            past_deadline=max(0.0, now - first_deadline),
        )

    def note_ports(self, deployment_id: str, ports: Mapping[str, int]) -> bool:
        """Have an ended deployment's record say which host ports its container has now; True if these are others.

        Of several who note the same change at the same time, one is told True.
        """
        known = self._redis.hget(self._record(deployment_id), "found")
        if known is None:
            return False
        found = Found.model_validate_json(known)
        if found.ports == ports:
            return False
        changed = found.updated(ports=dict(ports)).model_dump_json(exclude_defaults=True)
        return bool(self._run("ports", keys=[self._record(deployment_id)], args=[known, changed]))

    def note_made_anew(self, claim: Claim, deployment_id: str, container_id: str, made: str) -> bool:
        """Have a container that made room for the claim's deployment go by the id of the one made in its place.

        Of both deployments, the claim's and the one whose container it is, which need have no record. False, and
        nothing is changed, if the claim is lost, or if that one's record was changed at the same moment.
        """
        known = self._redis.hget(self._record(deployment_id), "found")
        own = Found.model_validate_json(known or "{}").updated(container_id=made)
        displaced = [made if each == container_id else each for each in claim.found.displaced]
        found = claim.found.updated(displaced=displaced)
        noted = self._run(
            "anew",
            keys=[self._record(claim.id), self._record(deployment_id)],
            args=[
                claim.fence,
                found.model_dump_json(exclude_defaults=True),
                known or "",
                own.model_dump_json(exclude_defaults=True),
            ],
        )
        if noted:
            claim.found = found
        return bool(noted)

    def stages(self, host: str | None = None) -> list[str]:
        """The stages that this host, or the one given, has a part in, as `project/stage`; some of another one's too."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.smembers(self._key("stages", host or self._settings.host))
            pipeline.smembers(f"{self._prefix}stages")
            own, unclaimed = pipeline.execute()
        return sorted(map(str, own | unclaimed))

    def lacking(self, stages: Sequence[str]) -> set[str]:
        """Those of the stages that nothing is live in."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in stages:
                pipeline.hexists(self._key("stage", each), "live")
            return {stage for stage, is_live in zip(stages, pipeline.execute(), strict=True) if not is_live}

    def reclaim(self, deployment_id: str, stage: str) -> bool:
        """Have what this host still has be live again in a stage that is live nowhere and that nobody is at.

        False where it isn't so, or where the stage was removed.
        """
        keys = [self._key("stage", stage), self._key("stages", self._settings.host)]
        return bool(self._run("reclaim", keys=keys, args=[self._prefix, deployment_id, stage]))

    def disown(self, host: str) -> None:
        """Have what is live on a host that is gone for good be so no more: its stages can be anywhere."""
        for stage in self.stages(host):
            self._run("disown", keys=[self._key("stage", stage)], args=[self._prefix, host])

    def stranded(self, host: str) -> list[Claim]:
        """What a host is at or has yet to do, as nobody's claims: for who takes over from one that is away."""
        ids = [str(each) for each in self._redis.zrange(self._alarms(host), 0, -1)]
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for each in ids:
                pipeline.hgetall(self._record(each))
            (seconds, _), *records = pipeline.execute()
        return [
            reading.claim(each, float(seconds), 0, record)
            for each, record in zip(ids, records, strict=True)
            if record.get("step") in _STEPS - {Step.ENDED} and not reading.is_for_newer(record.get("needs"))
        ]

    def abandon(self, claim: Claim, host: str, to: str, found: Found, error: DeploymentError | None) -> Due | None:
        """Have a host report what one that is away was at; None where it has gone on, or that one is back."""
        taken = self._run(
            "abandon",
            keys=[self._record(claim.id), self._key("abandoned", host)],
            args=[
                self._prefix,
                claim.id,
                claim.fence,
                host,
                to,
                self._settings.away_seconds,
                Step.REPORT,
                found.model_dump_json(exclude_defaults=True),
                error.to_json() if error else "",
                self._settings.lease_seconds,
                int(bool(error and found.displaced)),
            ],
        )
        return Due(claim.id, Step.REPORT, to) if taken else None

    def abandoned(self) -> dict[str, Standing | None]:
        """The deployments that others ended while this host was away, and that had stopped containers of it."""
        ids = sorted(str(each) for each in self._redis.smembers(self._key("abandoned", self._settings.host)))
        standings = self.standings(ids)
        return {each: standings.get(each) for each in ids}

    def note_restored(self, deployment_id: str) -> None:
        """Note that what an abandoned deployment had stopped runs again."""
        self._redis.srem(self._key("abandoned", self._settings.host), deployment_id)

    def moved(self, stages: Sequence[str]) -> dict[str, Moved]:
        """Those of the stages that nobody is at and that are live on another host, or that another one has removed."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in stages:
                pipeline.hmget(self._key("stage", each), "running", "live", "newest")
            holders = dict(zip(stages, pipeline.execute(), strict=True))
            lives = {stage for stage, (_, live, _) in holders.items() if live}
            last = {
                stage: deployment_id
                for stage, (running, live, newest) in holders.items()
                if not running and (deployment_id := live or newest)
            }
            for deployment_id in last.values():
                pipeline.hmget(self._record(deployment_id), "host", "created", "first")
            found = zip(last, pipeline.execute(), strict=True)
        return {
            stage: Moved(host if stage in lives else None, float(created))
            for stage, (host, created, first) in found
            if host not in {None, self._settings.host} and (stage in lives or first == Step.REMOVE)
        }

    def needed_images(self, keep: int) -> NeededImages:
        """The images of deployments under way, and of the last `keep` versions of each stage that were live.

        A version that was live several times in a row, as by force, counts once.
        """
        names: set[str] = set()
        ids: set[str] = set()
        for stage in self.stages():
            versions = dict.fromkeys(each.image_id for each in self.lives(stage))
            ids.update(list(versions)[:keep])
            for each in self._under_way(stage):
                if each.image:
                    names |= ImageReference.parse(each.image).names_of(each.digest)
                if each.image_id:
                    ids.add(each.image_id)
        return NeededImages(frozenset(ids), frozenset(names))

    def mend(self, stages: Sequence[str]) -> Mended:
        """Let go of stages whose holder has ended or has no record, and have what is under way driven again."""
        stale, resumed = [], []
        for first in range(0, len(stages), _MOST_STAGES_AT_ONCE):
            with self._redis.pipeline(transaction=False) as pipeline:
                for each in stages[first : first + _MOST_STAGES_AT_ONCE]:
                    self._scripts["mend"](
                        keys=[
                            self._key("stage", each),
                            self._key("stages", self._settings.host),
                            self._key("lives", each),
                        ],
                        args=[self._prefix, self._settings.host, each],
                        client=pipeline,
                    )
                for held, *driven in pipeline.execute():
                    stale += [held] if held else []
                    resumed += driven
        return Mended(stale, resumed)

    def holder(self, stage: str) -> str | None:
        """Who has a stage: the id of what is under way there."""
        held = self._redis.hget(self._key("stage", stage), "running")
        return str(held) if held else None

    def home(self, stage: str) -> str | None:
        """The host of what is live in a stage, as far as records know."""
        live = self.live_instance(stage)
        return live.host if live else None

    def live_instance(self, stage: str) -> Instance | None:
        """The version that is live in a stage, as it was left: its container, and where that is."""
        deployment_id = self._redis.hget(self._key("stage", stage), "live")
        if not deployment_id:
            return None
        spec, found, host = self._redis.hmget(self._record(str(deployment_id)), "spec", "found", "host")
        return reading.instance(str(deployment_id), str(spec), str(found), str(host)) if spec else None

    def live(self, stage: str) -> Version | None:
        """The version that is live in a stage, as far as records know."""
        deployment_id = self._redis.hget(self._key("stage", stage), "live")
        return next(iter(self._versions([str(deployment_id)])), None) if deployment_id else None

    def lives(self, stage: str) -> list[Version]:
        """The last versions that were live in a stage, newest first; mostly the first one still is."""
        return self._versions([str(each) for each in self._redis.lrange(self._key("lives", stage), 0, -1)])

    def history(self, stage: str) -> list[Past]:
        """The deployments of a stage that are remembered or under way, newest first."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._key("stage", stage), "live", "running", "waiting")
            pipeline.lrange(self._key("history", stage), 0, -1)
            pipeline.lrange(self._key("lives", stage), 0, -1)
            (live, *under_way), ended, lives = pipeline.execute()
        ids = [each for each in dict.fromkeys([*under_way, *ended, *lives]) if each]
        return sorted(self._pasts(ids, live), key=lambda each: (each.order, each.created), reverse=True)

    def adopt(
        self,
        deployment_id: str,
        spec: DeploymentSpec,
        found: Found,
        created: float,
        previous: Version | None = None,
    ) -> bool:
        """Record a container that serves and that no record knows, and the version that was live before it.

        False if a record does know it, or its stage has a live one.
        """
        before = (previous.deployment_id, previous.spec, previous.found, previous.created) if previous else None
        return bool(
            self._run(
                "adopt",
                keys=[
                    self._record(deployment_id),
                    self._stage(spec),
                    self._key("lives", spec.where),
                    self._key("history", spec.where),
                ],
                args=[
                    self._prefix,
                    self._settings.host,
                    spec.where,
                    self._settings.history,
                    self._settings.record_ttl,
                    *_adopted(deployment_id, spec, found, created),
                    *(_adopted(*before) if before else ()),
                ],
            )
        )

    def may_reconcile(self, seconds: float) -> bool:
        """Whether nobody has reconciled this host for so long; who is told so is to do it."""
        return bool(self._redis.set(self._key("reconciled", self._settings.host), 1, nx=True, px=int(seconds * 1000)))

    def ring(self) -> Alarms:
        """Take the steps of this host whose alarm has gone off."""
        until_next, *rung = self._run(
            "ring",
            keys=[self._alarms()],
            args=[self._prefix, _MOST_ALARMS_AT_ONCE, self._settings.lease_seconds, VERSION],
        )
        steps = [
            Due(each, Step(step), self._settings.host)
            for each, step in zip(rung[::2], rung[1::2], strict=True)
            # A step of a newer version of this code is for its workers.
            if step in _STEPS
        ]
        return Alarms(steps, float(until_next) if until_next else None)

    def _commit(
        self,
        claim: Claim,
        step: Step,
        found: Found,
        error: DeploymentError | None,
        *,
        delay: float,
        attempt: int,
        alarm: float,
        trouble: DeploymentError | None = None,
        host: str | None = None,
    ) -> Committed:
        may_be_cancelled = claim.step in ON_FAILURE and error is None
        return Committed(
            self._run(
                "commit",
                keys=[self._record(claim.id), self._alarms(), self._alarms(host), f"{self._prefix}hosts:seen"],
                args=[
                    claim.id,
                    claim.fence,
                    step,
                    delay,
                    found.model_dump_json(exclude_defaults=True),
                    error.to_json() if error else "",
                    attempt,
                    alarm,
                    trouble.to_json() if trouble else "",
                    int(may_be_cancelled),
                    host or "",
                    needed(step=step),
                ],
            )
        )

    def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        return self._scripts[script](keys=keys, args=args)

    def _versions(self, deployment_ids: Sequence[str]) -> list[Version]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in deployment_ids:
                pipeline.hmget(self._record(each), "spec", "found", "created", "needs")
            found = zip(deployment_ids, pipeline.execute(), strict=True)
        return [reading.version(each, *fields) for each, fields in found if fields[0]]

    def _under_way(self, stage: str) -> list[Past]:
        ids = [str(each) for each in self._redis.hmget(self._key("stage", stage), "running", "waiting") if each]
        return self._pasts(ids, live=None)

    def _pasts(self, deployment_ids: Sequence[str], live: str | None) -> list[Past]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for each in deployment_ids:
                pipeline.hgetall(self._record(each))
            found = zip(deployment_ids, pipeline.execute(), strict=True)
        return [reading.past(each, record, is_live=each == live) for each, record in found if record]

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"

    def _record(self, deployment_id: str) -> str:
        return self._key("deployment", deployment_id)

    def _stage(self, arguments: StageArguments) -> str:
        return self._key("stage", arguments.where)

    def _alarms(self, host: str | None = None) -> str:
        return self._key("alarms", host or self._settings.host)


def _due(deployment_id: str, step: str, host: str) -> Due | None:
    # A step of a newer version of this code is for its workers, whose driver sends it.
    return Due(deployment_id, Step(step), host) if deployment_id and step in _STEPS else None


def _holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}"


def _adopted(deployment_id: str, spec: DeploymentSpec, found: Found, created: float) -> tuple[str | float, ...]:
    texts = (each.model_dump_json(exclude_defaults=True) for each in (spec, found))
    return deployment_id, *texts, created
