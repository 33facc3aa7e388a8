"""Records as they are read back, which other versions of this code may have written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from worker.errors import DeploymentCancelled, DeploymentError, DeploymentSuperseded
from worker.record import ON_FAILURE, Break, Claim, Found, Step, Version
from worker.reference import ImageReference
from worker.spec import ACCEPTED, Asked, DeploymentSpec, StageOrder
from worker.version import VERSION

_ASKED: TypeAdapter[Asked] = TypeAdapter(Asked)
_LIVE = {"live", "adopted"}
_OF_ALL_VERSIONS = {"project", "stage", "image", "action"}


OF_STANDING = ("step", "outcome", "spec", "found", "error", "superseded_by", "needs", "created")
"""The fields of a record that a standing is read from."""


@dataclass(frozen=True)
class Standing:
    """How far a deployment is, as told to others."""

    step: str
    outcome: str | None
    """`live`, `unchanged`, `done`, `failed` or `adopted` once it has ended."""
    success: str
    """Which of these it is where nothing has failed, as is known before the end."""
    container_id: str | None
    ports: Mapping[str, int]
    error: DeploymentError | None
    unretired: Sequence[str]
    """Ids of older containers that it could not remove."""
    displaced: Sequence[str]
    """Ids of older containers that it stopped for its own."""
    created: float
    """When it was asked for, in seconds since 1970."""

    @property
    def went_live(self) -> bool:
        """Whether it has ended with its version live, be it by adoption."""
        return self.outcome in _LIVE


@dataclass(frozen=True)
class Instance:
    """A version that is live: what was asked for, and what came of it."""

    deployment_id: str
    spec: DeploymentSpec
    found: Found
    host: str


@dataclass(frozen=True)
class Past:
    """A deployment, or an order to its stage, as history tells it; times are in seconds since 1970."""

    deployment_id: str
    action: str
    """`deploy`; of an order `stop`, `restart` or `remove`, and then nothing is known of an image."""
    state: str
    """`running` or `waiting`; once it has ended `live`, `replaced` (it was live), `unchanged`, `done` (an order),
    `failed`, `cancelled` or `superseded`."""
    step: str
    """The one that is due; `ended` at the end."""
    host: str
    image: str | None
    image_id: str | None
    digest: str | None
    container_id: str | None
    container_name: str | None
    created: float
    ended: float | None
    """None also of one that was adopted: nobody knows when."""
    seconds: Mapping[str, float]
    """By step."""
    rollback_to: str | None
    """The deployment whose version it brings back."""
    superseded_by: str | None
    error: DeploymentError | None
    order: int
    """Which one was asked for later has the greater one."""


def claim(deployment_id: str, now: float, sure_until: float, record: dict[str, str]) -> Claim:
    step = Step(record["step"])
    asked = _asked(record["spec"])
    return Claim(
        id=deployment_id,
        step=step,
        host=record["host"],
        fence=int(record["fence"]),
        attempt=int(record["attempt"]),
        asked=asked,
        found=Found.model_validate_json(record["found"]),
        error=_error(record["error"]) or _superseded(asked, record.get("superseded_by")),
        trouble=_error(record.get("trouble")),
        created=float(record["created"]),
        since=float(record["since"]),
        was_due=float(record.get("was_due", record["since"])),
        now=now,
        deadline=float(record["deadline"]),
        sure_until=sure_until,
        # Of an earlier step it is, if that is when this one began or before.
        troubled=float(record.get("troubled", 0)),
        traceparent=record.get("traceparent"),
        broken_off=Break.CANCELLED if "cancel" in record and step in ON_FAILURE else None,
    )


def is_for_newer(needs: str | None) -> bool:
    """Whether a record's steps are for workers of a newer version of this code."""
    return int(needs or 1) > VERSION


def standing(
    step: str,
    outcome: str | None,
    spec: str,
    found: str,
    error: str | None,
    superseded_by: str | None,
    needs: str | None,
    created: str,
) -> Standing:
    known, asked = Found.model_validate_json(found), _asked(spec, needs)
    return Standing(
        step=step,
        outcome=outcome,
        success=success(asked, known),
        container_id=known.container_id,
        ports=known.ports,
        error=_error(error) or _superseded(asked, superseded_by),
        unretired=known.unretired,
        displaced=known.displaced,
        created=float(created),
    )


def success(asked: Asked, found: Found) -> str:
    """What becomes of it where nothing has failed."""
    if isinstance(asked, StageOrder):
        return "done"
    return "unchanged" if found.unchanged else "live"


def ending(error: DeploymentError | None, outcome: str) -> str:
    """How what has ended is told of: `outcome`, or what became of it instead."""
    match error:
        case None:
            return outcome
        case DeploymentCancelled():
            return "cancelled"
        case DeploymentSuperseded():
            return "superseded"
    return "failed"


def version(deployment_id: str, spec: str, found: str, created: str, needs: str | None) -> Version:
    known, asked = Found.model_validate_json(found), _asked(spec, needs)
    if not isinstance(asked, DeploymentSpec):
        raise TypeError("only a deployment is a version")
    return Version(
        deployment_id=deployment_id,
        spec=asked,
        needs=int(needs or 1),
        image_id=known.image_id or "",
        digest=known.digest,
        created=float(created),
    )


def instance(deployment_id: str, spec: str, found: str, host: str) -> Instance:
    asked = DeploymentSpec.model_validate_json(spec, extra="ignore", context=ACCEPTED)
    return Instance(deployment_id, asked, Found.model_validate_json(found), host)


def past(deployment_id: str, record: Mapping[str, str], *, is_live: bool) -> Past:
    asked, found = _asked(record["spec"], record.get("needs")), Found.model_validate_json(record["found"])
    superseded_by = record.get("superseded_by")
    error = _error(record["error"]) or _superseded(asked, superseded_by)
    outcome = record.get("outcome")
    return Past(
        deployment_id=deployment_id,
        action=asked.action if isinstance(asked, StageOrder) else "deploy",
        state=_state(record["step"], outcome, error, is_live=is_live),
        step=record["step"],
        host=record["host"],
        image=str(ImageReference.parse(asked.image)) if isinstance(asked, DeploymentSpec) else None,
        image_id=found.image_id,
        digest=found.digest,
        container_id=found.container_id,
        container_name=found.container_name,
        created=float(record["created"]),
        ended=float(record["ended"]) if outcome and outcome != "adopted" else None,
        seconds=found.seconds,
        rollback_to=record.get("rollback_to"),
        superseded_by=superseded_by,
        error=error,
        order=int(record["order"]),
    )


def _state(step: str, outcome: str | None, error: DeploymentError | None, *, is_live: bool) -> str:
    if outcome is None:
        return "waiting" if step == Step.EXPIRE else "running"
    if isinstance(error, DeploymentSuperseded):
        return "superseded"
    if isinstance(error, DeploymentCancelled):
        return "cancelled"
    if outcome in _LIVE:
        return "live" if is_live else "replaced"
    return outcome


def _asked(text: str, needs: str | None = None) -> Asked:
    # What was accepted once, by another version of this code or under other settings, is not judged anew.
    try:
        return _ASKED.validate_json(text, extra="ignore", context=ACCEPTED)
    except ValidationError:
        if not is_for_newer(needs):
            raise
        # Of what only newer workers can do, all that others tell is what it is about.
        told = {name: value for name, value in json.loads(text).items() if name in _OF_ALL_VERSIONS}
        return _ASKED.validate_python(told, extra="ignore", context=ACCEPTED)


def _superseded(asked: Asked, by: str | None) -> DeploymentSuperseded | None:
    if not by:
        return None
    return DeploymentSuperseded(
        f"{asked.about} was superseded before it began: {by} takes its place.", {"by": by, **asked.facts}
    )


def _error(text: str | None) -> DeploymentError | None:
    return DeploymentError.from_json(text) if text else None
