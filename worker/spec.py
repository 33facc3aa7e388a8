"""What callers may ask for: the base of all arguments, and the arguments of a deployment."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from worker.errors import SpecInvalid
from worker.reference import ImageReference, normal_registry, short
from worker.secrecy import has_password, is_secret_name
from worker.settings import HIGHEST_PORT, Name, NetworkName, Seconds, settings

_ENGINES_INTEGERS = 2**63
ACCEPTED = "accepted"
"""The validation context of a spec that is read back: this worker's settings were asked when it was accepted."""
LIVE_BEFORE = "live before"
"""That of a version which is deployed again: what it holds in the clear was taken when it was asked for."""
SENT = "sent"
"""That of what is about to be sent by who has no worker's settings: what hangs on these is the worker's to check."""
_NEW = {None, SENT}
_DOCKERS_LABELS = ("com.docker.", "io.docker.", "org.dockerproject.")
"""What Docker keeps for itself: Compose, for one, takes down whatever has its labels."""


def _check_image(text: str) -> str:
    ImageReference.parse(text)
    return text


def _check_printable(text: str) -> str:
    if any(ord(character) < ord(" ") and character not in "\t\n\r" for character in text):
        raise ValueError("may hold no control characters")
    return text


def _check_path(text: str) -> str:
    if not PurePosixPath(text).name or ".." in PurePosixPath(text).parts:
        raise ValueError("must be a path below / in the container, without ..")
    return text


def _check_not_secret(name: str, info: ValidationInfo) -> str:
    if info.context in _NEW and is_secret_name(name):
        raise ValueError("looks like a secret: seal it with dw seal and give it in secret_env")
    return name


def _check_no_password(text: str, info: ValidationInfo) -> str:
    if info.context in _NEW and has_password(text):
        raise ValueError("holds a URL with a password: seal it with dw seal and give it in secret_env")
    return text


def _check_label_not_secret(name: str, info: ValidationInfo) -> str:
    if info.context in _NEW and is_secret_name(name):
        raise ValueError("looks like a secret, and labels are for all to read: seal it with dw seal, for secret_env")
    return name


def _check_host_port(port: object) -> object:
    # Not isinstance: true is an int to Python.
    if port == "keep" or (type(port) is int and 1 <= port <= HIGHEST_PORT):
        return port
    raise ValueError(f"must be a port from 1 to {HIGHEST_PORT}, or keep")


def _check_url(text: str) -> str:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.hostname or not text.isprintable() or " " in text:
        raise ValueError("must be a URL that begins with http:// or https://")
    if url.username is not None or url.password is not None:
        raise ValueError("may hold no user and password: what is sent is signed instead")
    # Who cuts a fragment off later may read another host before it.
    if "#" in text or "\\" in text or ".." in unquote(url.path).split("/"):
        raise ValueError("must be written as it is meant: without .., # and backslashes")
    return text


Image = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_check_image)]
Text = Annotated[str, StringConstraints(max_length=32_768), AfterValidator(_check_printable)]
Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]
ContainerReference = Annotated[str, StringConstraints(pattern=r"^/?[A-Za-z0-9][A-Za-z0-9_.-]{1,254}$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,254}$")]
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$")]
PlainVariable = Annotated[VariableName, AfterValidator(_check_not_secret)]
PlainLabel = Annotated[LabelName, AfterValidator(_check_label_not_secret)]
PlainText = Annotated[Text, AfterValidator(_check_no_password)]
VolumeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,254}$")]
PathInside = Annotated[str, StringConstraints(pattern=r"^/[^:\x00-\x1f]{1,1023}$"), AfterValidator(_check_path)]
ContainerPort = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}/(tcp|udp|sctp)$")]
HostPort = Annotated[
    int | Literal["keep"], PlainValidator(_check_host_port, json_schema_input_type=int | Literal["keep"])
]
StopTimeout = Annotated[int, Field(ge=0, le=3600)]
RestartPolicy = Annotated[str, StringConstraints(pattern=r"^(no|always|unless-stopped|on-failure(:[0-9]{1,4})?)$")]
User = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$")]
DeploymentId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
"""The Celery id of the task that asked for it, which any client may choose."""
Registry = Annotated[str, AfterValidator(normal_registry)]
PullPolicy = Literal["always", "missing"]
Strategy = Literal["start-first", "stop-first"]


class Arguments(BaseModel):
    """The base of all arguments: JSON of the right types, and nothing unknown.

    A message holds what somebody sent, so an error never repeats a value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Health(Arguments):
    """How a started container is proven."""

    timeout: Seconds | None = None
    """The longest to wait for `healthy`; `DW_HEALTH_TIMEOUT` unless given."""
    stable: Annotated[float, Field(ge=0, le=3600)] | None = None
    """Without HEALTHCHECK, how long it must run; `DW_STABLE_SECONDS` unless given."""


def _volume(given: object) -> object:
    return {"path": given} if isinstance(given, str) else given


class Volume(Arguments):
    """A named volume, and where it is in the container."""

    path: PathInside
    exclusive: bool = False
    """No two containers may have it at a time: the older instance is stopped before the new one is started."""


class Cutover(Arguments):
    """What is told, by HTTP POST, that a stage's new version is proven and where it is, before the old one goes."""

    url: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_check_url)]
    timeout: Annotated[float, Field(gt=0, le=300)] = 10
    """Seconds that one try may take."""


class StageArguments(Arguments):
    """What is asked for about one stage."""

    project: Name
    """What is deployed: `shop`."""
    stage: Name
    """Where: `staging`."""

    @property
    def where(self) -> str:
        """The stage as people write it: `shop/staging`."""
        return f"{self.project}/{self.stage}"


class DeploymentSpec(StageArguments):
    """The arguments of `docker.deploy`, and of `docker.create`."""

    image: Image
    """`registry/repository:tag`, `repository@sha256:…`, or both."""
    credential: Name | None = None
    """A stored credential's name; unless given, the registry's only one, or none."""
    policy: PullPolicy = "always"
    """`missing` asks no registry for what the engine has under that name."""
    env: dict[PlainVariable, PlainText] = {}
    """Nothing that looks like a secret: messages, records and containers' labels are read by many."""
    secret_env: dict[VariableName, Text] = {}
    """Values sealed by `dw seal`, opened only when the container is created."""
    ports: dict[ContainerPort, HostPort | None] = {}
    """A host port for a container's; None has the engine pick one at each start; `keep` has one picked out of
    `DW_PORT_RANGE` that this instance keeps over restarts."""
    network: NetworkName | None = None
    """One more network beside the shared one; it must exist."""
    aliases: list[Alias] = []
    """Its names on the networks, in the engine's DNS; an older instance's go over to the new one once it is proven."""
    labels: dict[PlainLabel, PlainText] = {}
    """For all to read, as `env`."""
    command: list[Text] | None = None
    """The image's own unless given."""
    user: User | None = None
    """`user` or `user:group`, by name or number; the image's own unless given."""
    volumes: dict[VolumeName, Annotated[Volume, BeforeValidator(_volume)]] = {}
    """A path, or an object with one, for each named volume."""
    memory: Annotated[int, Field(ge=6 * 1024**2, lt=_ENGINES_INTEGERS)] | None = None
    """Bytes; the engine refuses less than 6 MiB."""
    cpus: Annotated[float, Field(ge=0.01, le=4096)] | None = None
    """How many processors' time it may use."""
    pids: Annotated[int, Field(ge=1, lt=_ENGINES_INTEGERS)] | None = None
    """Processes and threads together."""
    read_only: bool = False
    """Mount its root file system so that nothing can be written."""
    init: bool = True
    """Run the engine's own init as process 1: it hands signals on, and reaps orphans. Not for images that bring one."""
    stop_timeout: StopTimeout | None = None
    """Seconds that it may take to stop before the engine kills it; `DW_STOP_TIMEOUT` unless given."""
    restart: RestartPolicy = "always"
    """Not `unless-stopped`: an engine that was killed (20.10, 26.1) takes such a one, once it is back, for stopped by
    hand, and leaves it so."""
    instance_id: Name | None = None
    """The name of this version, for lists and labels; the deployment's id unless given."""
    host: Name | None = None
    """Where the stage is, or else the host with the least to do, unless given."""
    strategy: Strategy | None = None
    """`start-first` proves the new instance while the old one serves; `stop-first` stops that before. Unless given,
    `stop-first` only where the two can't run at once: a fixed host port, or an exclusive volume."""
    keep: Annotated[int, Field(ge=1, le=100)] = 1
    """How many instances of the stage stay, the new one among them."""
    timeout: Seconds | None = None
    """Seconds for the whole deployment; `DW_DEPLOY_TIMEOUT` unless given."""
    health: Health = Health()
    """How it is proven."""
    cutover: Cutover | None = None
    """The hook that is told, and must agree, before anything old is touched."""
    force: bool = False
    """Deploy although exactly this is live already."""

    @property
    def about(self) -> str:
        """How an error's sentence begins."""
        return f"Deployment of {self.image} to {self.where}"

    @property
    def title(self) -> str:
        """What lists call it."""
        return f"{self.where} {short(self.image)}"

    @property
    def facts(self) -> dict[str, object]:
        """What each error about it gives."""
        return {"image": self.image}

    @field_validator("ports")
    @classmethod
    def _ports_are_in_range(cls, ports: dict[str, HostPort | None]) -> dict[str, HostPort | None]:
        for port in ports:
            if int(port.partition("/")[0]) > HIGHEST_PORT:
                raise ValueError(f"a container's port is at most {HIGHEST_PORT}")
        return ports

    @field_validator("labels")
    @classmethod
    def _labels_are_not_reserved(cls, labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if info.context not in {ACCEPTED, SENT}:
            prefix = settings().label_prefix
            if any(f"{name}.".startswith(f"{prefix}.") for name in labels):
                raise ValueError(f"labels that begin with {prefix} are docker-watcher's own")
        if any(name.startswith(_DOCKERS_LABELS) for name in labels):
            raise ValueError("labels that begin with com.docker, io.docker or org.dockerproject are Docker's own")
        return labels

    @model_validator(mode="after")
    def _variables_are_given_once(self) -> "DeploymentSpec":
        for name in sorted(self.env.keys() & self.secret_env.keys()):
            raise ValueError(f"variable {name} is in env and in secret_env: give it once")
        return self


class ContainerArguments(Arguments):
    """The arguments of what is done to one container."""

    container: ContainerReference
    """Its id, of which twelve characters are enough, or its exact name."""


class StageOrder(StageArguments):
    """The arguments of `docker.stage`: what is to become of all containers of a stage."""

    action: Literal["stop", "restart", "remove"]
    """What is stopped stays so until a restart or a deployment."""
    timeout: StopTimeout | None = None
    """`DW_STOP_TIMEOUT` unless given."""
    force: bool = False
    """Remove what runs as well."""

    @property
    def about(self) -> str:
        """How an error's sentence begins."""
        return f"{_GERUNDS[self.action]} {self.where}"

    @property
    def title(self) -> str:
        """What lists call it."""
        return f"{self.where} {self.action}"

    @property
    def facts(self) -> dict[str, object]:
        """What each error about it gives."""
        return {"stage": self.where}

    @model_validator(mode="after")
    def _force_is_for_removing(self) -> "StageOrder":
        if self.force and self.action != "remove":
            raise ValueError("force goes with action remove only")
        return self


_GERUNDS = {"stop": "Stopping", "restart": "Restarting", "remove": "Removing"}

Asked = DeploymentSpec | StageOrder
"""What a record is of."""


class RollbackArguments(StageArguments):
    """The arguments of `docker.rollback`."""

    to: DeploymentId | None = None
    """The deployment to go back to; the last one that was live before the present one unless given."""


_UNKNOWN = "there is no such argument"

A = TypeVar("A", bound=Arguments)


def parse(model: type[A], task: str, arguments: Mapping[str, object], context: str | None = None) -> A:
    """Check what a message holds.

    Raises SpecInvalid, naming every field that is wrong.
    """
    try:
        return model.model_validate(arguments, context=context)
    except ValidationError as error:
        fields = {
            _field(problem["loc"]): _reason(problem["type"], problem["msg"])
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        }
    listed = "; ".join(f"{field}: {reason}" for field, reason in fields.items())
    raise SpecInvalid(f"The arguments of {task} are wrong: {listed}.", {"step": "accept", "fields": fields})


def has_unknown_argument(error: SpecInvalid) -> bool:
    """Whether there is an argument among those that are wrong which isn't known at all."""
    fields = error.facts.get("fields")
    return isinstance(fields, dict) and _UNKNOWN in fields.values()


def _field(place: tuple[int | str, ...]) -> str:
    # Pydantic's mark of an object's name, which is the last part already.
    return ".".join(str(part) for part in place if part != "[key]") or "arguments"


def _reason(kind: str, message: str) -> str:
    reasons = {
        "extra_forbidden": _UNKNOWN,
        "missing": "is missing",
        "model_type": "must be an object",
        "string_pattern_mismatch": "has characters that don't belong there, or too many of them",
    }
    message = message.removeprefix("Value error, ")
    return reasons.get(kind, message[:1].lower() + message[1:]).rstrip(".")
