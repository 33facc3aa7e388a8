"""A deployment's record: the one truth on what a deployment is doing. Celery's messages only drive it.

    accept ─▶ pull ─▶ inspect ─▶ create ─▶ connect ─▶ (displace) ─▶ start ─▶ prove ─┐
       │        │         │         │          │           │           │        │    │
       │        │         │         └──────────┴───────────┴───────────┴────────┴────┼────────▶ undo ──▶ report ─▶ ended
       ▼        └─────────┴──────────────────────────────────────────────────────────┼───────────▲────────▲ ▲
    expire (waits for the stage; superseded, or out of time) ────────────────────────┼───────────┼────────┘ │
                                                                                     ▼           │          │
                                                        (alias) ─▶ (cutover) ─▶ promote ─▶ (drain) ─▶ (retire)
                                                           └────────────┴──────────┴───▶ (revert)┘

Those in brackets, and `connect`, are left out where they have nothing to do (`following`). Beside these: `pull` goes to
`create` where the engine has the image and nothing is pulled; `create` goes to `report` where the same runs already; a
failure goes by `revert` as well where a hook is to hear of what was displaced; from `prove` to `promote` all go back to
`start`, and `start` to `create`, once, where the engine may have died meanwhile; `promote` goes to `displace` where the
older one is in a restart loop; and one that waits in `expire` goes to `pull` once its stage is free
(`store/close.lua`).

An order to a whole stage (`docker.stage`) has a record as well, and waits for the stage in the same way:

    accept ─▶ stop, restart or remove, again and again: a container each time ─▶ report ─▶ ended

A step is *due* at a time. A worker that claims it makes it due again at the end of a lease, and renews that
while it works; so a dead worker's step is due by itself, and so is a pause before a retry or a health check that
isn't done: nobody holds it, and no thread waits.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from worker.errors import DeploymentError
from worker.interrupt import Interrupt
from worker.spec import Asked, Cutover, DeploymentSpec, StageOrder


class Step(StrEnum):
    """What is due next; each but `ENDED` is a Celery task."""

    EXPIRE = "expire"
    PULL = "pull"
    INSPECT = "inspect"
    CREATE = "create"
    CONNECT = "connect"
    DISPLACE = "displace"
    START = "start"
    PROVE = "prove"
    ALIAS = "alias"
    CUTOVER = "cutover"
    PROMOTE = "promote"
    DRAIN = "drain"
    RETIRE = "retire"
    VACATE = "vacate"
    REVERT = "revert"
    UNDO = "undo"
    STOP = "stop"
    RESTART = "restart"
    REMOVE = "remove"
    REPORT = "report"
    ENDED = "ended"

    @property
    def task(self) -> str:
        of_deployment, of_stage = STEP_TASKS
        return f"{of_stage if self in OF_STAGE else of_deployment}{self}"


STEP_TASKS = ("docker.deploy.", "docker.stage.")
"""What the names of steps' tasks begin with: of a deployment, of an order to a stage."""
OF_STAGE = {Step.STOP, Step.RESTART, Step.REMOVE}
"""What `docker.stage` asks for, under the action's own name."""
ON_SUCCESS: Mapping[Step, Step] = {
    Step.PULL: Step.INSPECT,
    Step.INSPECT: Step.CREATE,
    Step.CREATE: Step.CONNECT,
    Step.CONNECT: Step.DISPLACE,
    Step.DISPLACE: Step.START,
    Step.START: Step.PROVE,
    Step.PROVE: Step.ALIAS,
    Step.ALIAS: Step.CUTOVER,
    Step.CUTOVER: Step.PROMOTE,
    Step.PROMOTE: Step.DRAIN,
    Step.DRAIN: Step.RETIRE,
    Step.RETIRE: Step.VACATE,
    Step.VACATE: Step.REPORT,
    Step.REVERT: Step.UNDO,
    Step.UNDO: Step.REPORT,
    **dict.fromkeys(OF_STAGE, Step.REPORT),
}
ON_FAILURE: Mapping[Step, Step] = {
    # Nothing is made yet, so a dead engine needs no waiting for.
    Step.EXPIRE: Step.REPORT,
    Step.PULL: Step.REPORT,
    Step.INSPECT: Step.REPORT,
    # A failed call may have worked all the same: from the first one that makes something, all is undone.
    Step.CREATE: Step.UNDO,
    Step.CONNECT: Step.UNDO,
    Step.DISPLACE: Step.UNDO,
    Step.START: Step.UNDO,
    Step.PROVE: Step.UNDO,
    # From here on requests may come to the new one.
    Step.ALIAS: Step.REVERT,
    Step.CUTOVER: Step.REVERT,
    Step.PROMOTE: Step.REVERT,
    # What is stopped or removed stays so.
    **dict.fromkeys(OF_STAGE, Step.REPORT),
}
"""Steps that aren't here don't fail, and can't be cancelled: they are tried until they succeed."""


def first_step(asked: Asked) -> Step:
    """What is due once the stage is free."""
    return Step(asked.action) if isinstance(asked, StageOrder) else Step.PULL


class Found(BaseModel):
    """What a deployment's steps found out and made; each step adds to what it was given.

    What a newer version of this code has added is kept as it is.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    instance_id: str | None = None
    image_id: str | None = None
    digest: str | None = None
    downloaded: bool = False
    """The pull brought it, and the engine didn't have it under that name before."""
    exposed: list[str] = []
    container_id: str | None = None
    container_name: str | None = None
    withheld_aliases: list[str] = []
    """Aliases that an older instance holds until this one is proven."""
    displaced: list[str] = []
    """Ids of older containers that are stopped for this one to start, and started again if it fails."""
    ports_in_use: list[int] = []
    """Host ports out of `DW_PORT_RANGE` that it could not have."""
    started_at: str | None = None
    """By the engine's clock; another time shows that somebody has started the container once more."""
    ports: dict[str, int] = {}
    health: str | None = None
    unchanged: bool = False
    moves_from: list[str] = []
    """Other hosts that have older instances of the stage still."""
    replaced: list[str] = []
    unretired: list[str] = []
    """Older containers that were to go and could not be removed."""
    started_again: bool = False
    """It was killed from outside before it was proven, as by the engine's own end; that is forgiven once."""
    made_again: bool = False
    """The one before could not be started, as after an engine's death in the middle of that."""
    left: dict[str, str] = {}
    """Of a stage's containers, in their order, those that are still to be dealt with: id to name."""
    containers: list[dict[str, JsonValue]] = []
    """What became of the others."""
    seconds: dict[str, float] = {}

    def updated(self, **facts: object) -> "Found":
        """The same, with these facts in place of what was known of them."""
        return self.model_copy(update=facts)

    @property
    def replaces_what_serves(self) -> bool:
        """Whether it replaces a container that wasn't stopped before, and may be in the middle of requests."""
        return bool(self.moves_from) or not set(self.replaced) <= set(self.displaced)


def following(step: Step, asked: Asked, found: Found) -> Step:
    """The step after one that has succeeded, less those that have nothing to do."""
    return _needed(ON_SUCCESS[step], asked, found)


def after_failure(step: Step, asked: Asked, found: Found) -> Step:
    """The step after one that has failed, less those that have nothing to do."""
    to = ON_FAILURE[step]
    # What is started again may have other ports than those that the hook leads to.
    if to is Step.UNDO and found.displaced and _cutover(asked):
        to = Step.REVERT
    # It may have come as far as to its aliases, or the hook, before.
    if to is Step.UNDO and found.started_again:
        to = Step.REVERT
    return _needed(to, asked, found)


def _needed(step: Step, asked: Asked, found: Found) -> Step:
    cutover = _cutover(asked)
    is_reached = bool(found.withheld_aliases or cutover)
    is_left_out = {
        Step.CONNECT: not (isinstance(asked, DeploymentSpec) and asked.network),
        Step.DISPLACE: not found.displaced,
        Step.ALIAS: not found.withheld_aliases,
        Step.CUTOVER: cutover is None,
        Step.DRAIN: not found.withheld_aliases or not found.replaces_what_serves,
        Step.RETIRE: not found.replaced,
        Step.VACATE: not found.moves_from,
        Step.REVERT: not is_reached,
    }
    return following(step, asked, found) if is_left_out.get(step, False) else step


def place_of(step: Step, found: Found, host: str) -> str:
    """The host whose workers do a step of a deployment to a host."""
    return found.moves_from[0] if step is Step.VACATE else host


def _cutover(asked: Asked) -> Cutover | None:
    return asked.cutover if isinstance(asked, DeploymentSpec) else None


class Version(BaseModel):
    """A deployment that was live, and what it takes to have the same again."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    deployment_id: str
    spec: DeploymentSpec
    image_id: str
    digest: str | None = None
    created: float
    """When it was asked for."""
    needs: int = 1
    """What a worker must be able to read to have the same again (`worker.version`)."""

    @property
    def found(self) -> Found:
        """What is known of it before any step: its image."""
        return Found(image_id=self.image_id, digest=self.digest)


class Break(IntEnum):
    """Why a step is broken off by somebody else than the one who does it; the greater counts."""

    SHUTDOWN = 1
    """The worker ends, and another one is to go on."""
    CANCELLED = 2
    LOST = 3
    """The lease is gone: another worker may hold the step."""


@dataclass(eq=False)
class Claim:
    """The right to do one step; `fence` grows with each claim, so that an earlier holder's commit is refused."""

    id: str
    step: Step
    host: str
    """The one that its container is for; a step is another one's where that has a part in it."""
    fence: int
    attempt: int
    """How often this step was claimed without a commit that took it further; 1 at first."""
    asked: Asked
    found: Found
    error: DeploymentError | None
    """Why the deployment is being undone or reported as failed."""
    trouble: DeploymentError | None
    """Why the attempt before this one failed."""
    created: float
    """When what is asked for was accepted, as all times here in seconds since 1970 by Redis' clock."""
    since: float
    """When the step was first due."""
    was_due: float
    """When it was due this time: at once, after a pause, or at the end of a dead worker's lease."""
    now: float
    deadline: float
    sure_until: float
    """Until then, by this process' monotonic clock, nobody else can have the step."""
    troubled: float = 0
    """When the attempt before this one failed."""
    traceparent: str | None = None
    """The trace that the producer was in, as W3C has it (`worker.tracing`)."""
    broken_off: Break | None = None
    interrupt: Interrupt = field(default_factory=Interrupt, repr=False)
    """Ends what waits for the engine, once the step is broken off."""

    claimed: float = field(default_factory=time.monotonic, repr=False)

    @property
    def spec(self) -> DeploymentSpec:
        """What is asked for, in a deployment's step."""
        if not isinstance(self.asked, DeploymentSpec):
            raise TypeError("only a deployment's steps ask for this")
        return self.asked

    @property
    def order(self) -> StageOrder:
        """What is asked for, in the step of an order to a stage."""
        if not isinstance(self.asked, StageOrder):
            raise TypeError("only an order's steps ask for this")
        return self.asked

    @property
    def elapsed(self) -> float:
        """Seconds since the step began, over all its attempts and pauses."""
        return self.now - self.since + time.monotonic() - self.claimed

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return self.now - self.created + time.monotonic() - self.claimed

    @property
    def waited(self) -> float:
        """Seconds that the step was due for before a worker took it."""
        return max(0.0, self.now - self.was_due)

    @property
    def is_first(self) -> bool:
        """Whether nobody has begun with the step before."""
        return self.was_due == self.since

    @property
    def time_left(self) -> float:
        """Seconds to the deployment's deadline."""
        return self.deadline - self.now - (time.monotonic() - self.claimed)

    def break_off(self, why: Break) -> None:
        """Have the thread that holds this claim stop as soon as it can."""
        self.broken_off = max(why, self.broken_off or why)
        self.interrupt.set()
