"""Deployments' records in Redis; each change is one Lua script, so that it happens whole or not at all."""

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from worker.errors import DeploymentError, DeploymentSuperseded
from worker.record import FIRST, Claim, Found, Step
from worker.settings import Settings
from worker.spec import ACCEPTED, DeploymentSpec

_MOST_ALARMS_AT_ONCE = 100
_STEPS = {step.value for step in Step}


@dataclass(frozen=True)
class Due:
    """A step that is due, to be sent to the workers of its host."""

    id: str
    step: Step
    host: str


@dataclass(frozen=True)
class Accepted:
    """What became of a deployment that asked for its stage: `known`, `running` or `waiting`."""

    outcome: str
    due: Due | None
    """Its own first step, or the report of the one that it superseded."""


@dataclass(frozen=True)
class Alarms:
    """Steps that are due and that nobody holds, and the seconds until there may be more."""

    steps: Sequence[Due]
    until_next: float | None


class Deployments:
    """The records of one installation, and the alarms of one host.

    Keys: `deployment:<id>` (hash), `stage:<project>/<stage>` (hash: who runs, who waits) and `alarms:<host>`
    (sorted set: when to send a deployment's step again). All raise `redis.RedisError` where Redis can't be had.
    """

    def __init__(self, connection: redis.Redis, prefix: str, settings: Settings) -> None:
        self._redis = connection
        self._prefix = prefix
        self._settings = settings
        self._scripts = {
            path.stem: connection.register_script(path.read_text()) for path in Path(__file__).parent.glob("*.lua")
        }

    def is_known(self, deployment_id: str) -> bool:
        """Whether a deployment was accepted."""
        return bool(self._redis.exists(self._record(deployment_id)))

    def accept(self, deployment_id: str, spec: DeploymentSpec) -> Accepted:
        """Record a deployment, which takes its stage or waits for it; a second run changes nothing."""
        superseded = DeploymentSuperseded(
            f"Deployment of {spec.image} to {spec.project}/{spec.stage} was superseded while it waited: deployment "
            f"{deployment_id} was asked for later and takes its place.",
            {"by": deployment_id, "image": spec.image},
        )
        outcome, loser, its_host = self._run(
            "accept",
            keys=[self._record(deployment_id), self._stage(spec), self._alarms()],
            args=[
                self._prefix,
                deployment_id,
                self._settings.host,
                f"{spec.project}/{spec.stage}",
                spec.model_dump_json(exclude_defaults=True),
                spec.timeout or self._settings.deploy_timeout,
                FIRST,
                Step.EXPIRE,
                Step.REPORT,
                superseded.to_json(),
                self._settings.lease_seconds,
            ],
        )
        if outcome == "running":
            return Accepted(outcome, Due(deployment_id, FIRST, self._settings.host))
        return Accepted(outcome, Due(loser, Step.REPORT, its_host) if loser else None)

    def claim(self, deployment_id: str, step: Step) -> Claim | None:
        """Take a step if it is due and nobody has it."""
        claimed = self._run(
            "claim",
            keys=[self._record(deployment_id), self._alarms()],
            args=[deployment_id, step, _holder(), self._settings.lease_seconds, self._settings.host],
        )
        if not claimed:
            return None
        now, *fields = claimed
        return _claim(deployment_id, float(now), dict(zip(fields[::2], fields[1::2], strict=True)))

    def renew(self, claim: Claim) -> bool:
        """Lengthen a lease; False if it is lost."""
        return bool(
            self._run(
                "renew",
                keys=[self._record(claim.id), self._alarms()],
                args=[claim.id, claim.fence, self._settings.lease_seconds],
            )
        )

    def advance(self, claim: Claim, to: Step, found: Found, error: DeploymentError | None = None) -> bool:
        """End a claim with the next step due at once, to be sent by the caller; False if the lease is lost."""
        return self._commit(claim, to, found, error, delay=0, attempt=0, alarm=self._settings.lease_seconds)

    def wait(self, claim: Claim, seconds: float, found: Found) -> bool:
        """End a claim with the same step due again later, as the next of a row of checks."""
        return self._commit(claim, claim.step, found, claim.error, delay=seconds, attempt=0, alarm=seconds)

    def retry(self, claim: Claim, seconds: float) -> bool:
        """End a claim with the same step due again later, as a further attempt."""
        return self._commit(
            claim, claim.step, claim.found, claim.error, delay=seconds, attempt=claim.attempt, alarm=seconds
        )

    def close(self, claim: Claim) -> Due | None:
        """End a deployment; returns the first step of the one that has the stage now."""
        _, successor, its_host = self._run(
            "close",
            keys=[self._record(claim.id), self._alarms(), self._stage(claim.spec)],
            args=[
                self._prefix,
                claim.id,
                claim.fence,
                Step.ENDED,
                FIRST,
                self._settings.record_ttl,
                self._settings.lease_seconds,
            ],
        )
        return Due(successor, FIRST, its_host) if successor else None

    def ring(self) -> Alarms:
        """Take the steps of this host whose alarm has gone off."""
        until_next, *rung = self._run(
            "ring",
            keys=[self._alarms()],
            args=[self._prefix, _MOST_ALARMS_AT_ONCE, self._settings.lease_seconds, Step.ENDED],
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
    ) -> bool:
        return bool(
            self._run(
                "commit",
                keys=[self._record(claim.id), self._alarms()],
                args=[
                    claim.id,
                    claim.fence,
                    step,
                    delay,
                    found.model_dump_json(exclude_defaults=True),
                    error.to_json() if error else "",
                    attempt,
                    alarm,
                ],
            )
        )

    def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        return self._scripts[script](keys=keys, args=args)

    def _record(self, deployment_id: str) -> str:
        return f"{self._prefix}deployment:{deployment_id}"

    def _stage(self, spec: DeploymentSpec) -> str:
        return f"{self._prefix}stage:{spec.project}/{spec.stage}"

    def _alarms(self) -> str:
        return f"{self._prefix}alarms:{self._settings.host}"


def _holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}"


def _claim(deployment_id: str, now: float, record: dict[str, str]) -> Claim:
    return Claim(
        id=deployment_id,
        step=Step(record["step"]),
        fence=int(record["fence"]),
        attempt=int(record["attempt"]),
        # What was accepted once, by another version of this code or under other settings, is not judged anew.
        spec=DeploymentSpec.model_validate_json(record["spec"], extra="ignore", context=ACCEPTED),
        found=Found.model_validate_json(record["found"]),
        error=DeploymentError.from_json(record["error"]) if record["error"] else None,
        since=float(record["since"]),
        now=now,
        deadline=float(record["deadline"]),
    )
