"""What the operator of this worker allows, whatever a message asks for.

A message is anybody's who can write to the broker, so it is checked when it comes, and what was recorded of it is
checked once more, as it goes to the engine. What isn't in `worker.spec` at all can't be asked for in the first place:
no privileges, devices, capabilities, bind mounts, or namespaces of the host.

The policy is the file that `DW_POLICY_FILE` names, in TOML, and `DW_ALLOWED_IMAGES`. Patterns are shell patterns whose
`*` stops at `/` and whose `**` doesn't; `{project}` and `{stage}` are those of the deployment.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError

from worker.engine import ContainerSpec
from worker.errors import PolicyDenied
from worker.labels import Label, Labels
from worker.reference import ImageReference
from worker.settings import HIGHEST_PORT, Name, Settings, SettingsInvalid, port_range, settings
from worker.spec import DeploymentSpec

_WILDCARDS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
_PLACEHOLDERS = {"{project}": "project", "{stage}": "stage"}
_OF_ITS_OWN = re.compile(r"[0-9a-f]{64}")
"""What the engine calls a volume that it has made for one container."""


NO_STAGE = "/"
"""Of what is asked for by no stage: no pattern that has one's name fits."""


def matches(pattern: str, text: str, where: str = NO_STAGE) -> bool:
    """Whether a text fits a pattern; its `{project}` and `{stage}` are those of `where`, as in `shop/staging`."""
    # Not fnmatch: its `*` crosses `/`, and `acme/*` would let `acme/a/b` by.
    project, _, stage = where.partition("/")
    if where == NO_STAGE and "{" in pattern:
        return False
    values = {"project": project, "stage": stage}
    parts = re.split(r"(\*\*|\*|\?|\{project\}|\{stage\})", pattern)
    return bool(re.fullmatch("".join(_expression(part, values) for part in parts), text))


def _expression(part: str, values: Mapping[str, str]) -> str:
    return _WILDCARDS.get(part) or re.escape(values.get(_PLACEHOLDERS.get(part, ""), part))


def _check_pattern(pattern: str) -> str:
    if set(re.findall(r"\{[^}]*\}?", pattern)) - _PLACEHOLDERS.keys():
        raise ValueError("a pattern may hold {project} and {stage}, and no other braces")
    return pattern


def _public_key(pem: object) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  # where nobody signs, it only costs memory

    try:
        key = load_pem_public_key(str(pem).encode())
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("must be an Ed25519 public key in PEM, as `openssl pkey -pubout` prints it")  # noqa: TRY004  # pydantic wants this
    return key


def _check_fixed(pattern: str) -> str:
    if "{" in pattern:
        raise ValueError("such a pattern may hold no braces: it is for every stage")
    return pattern


Patterns = tuple[Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)], ...]
FixedPatterns = tuple[Annotated[str, Field(min_length=1), AfterValidator(_check_fixed)], ...]
HostPorts = Annotated[tuple[int, int], BeforeValidator(port_range)]
Capability = Annotated[str, Field(pattern=r"^[A-Z][A-Z_]*$")]


class Producer(BaseModel):
    """Somebody whose signed messages are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    key: Annotated[Ed25519PublicKey, BeforeValidator(_public_key)]
    stages: FixedPatterns
    """The `project/stage`s that it may deploy to, list, stop, read the logs of, and so on."""


class Policy(BaseModel):
    """What is allowed; what the file leaves out is as here."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    images: FixedPatterns = ("**",)
    """Normalised repositories, as in `docker.io/library/*`; `DW_ALLOWED_IMAGES` has to allow them too."""
    require_digest: bool = False
    """An image must be named by its digest: a tag may move after somebody has looked at what it names."""
    stages: FixedPatterns = ("*/*",)
    """What is deployed here, as `project/stage`."""
    networks: Patterns = ("*",)
    """Beside the shared one."""
    aliases: Patterns = ("*",)
    labels: Patterns = ("**",)
    """Names of labels, which tell a reverse proxy, say, where to send requests."""
    volumes: Patterns = ("*",)
    """Named ones."""
    host_ports: tuple[HostPorts, ...] = ((1024, HIGHEST_PORT),)
    """What may be asked for by its number, as in `18000-18999`; DW_PORT_RANGE may always."""
    hooks: Patterns = ("**",)
    """URLs of cut-over hooks, as in `https://proxy.example.com/hooks/*`."""
    memory: ByteSize | None = None
    """The most that a container may have, in bytes or as in `512MiB`, and what one has that asks for none; so the
    next two."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    pids: Annotated[int, Field(ge=1)] | None = None
    capabilities: tuple[Capability, ...] = (
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETGID",
        "SETUID",
    )
    """All that root has in a container: what images need that begin as root, own their files and become somebody else.
    Of the engine's own default it lacks AUDIT_WRITE, MKNOD, NET_RAW, SETFCAP, SETPCAP and SYS_CHROOT."""
    producers: dict[Name, Producer] = {}
    """Those whose signatures are taken, with `DW_REQUIRE_SIGNATURE`."""

    def check_image(self, reference: ImageReference) -> None:
        """Refuse an image that isn't allowed.

        Raises PolicyDenied.
        """
        for patterns, by in ((settings().allowed_images, "DW_ALLOWED_IMAGES"), (self.images, "`images` of the policy")):
            if not _any_matches(patterns, reference.name):
                raise _denied(f"Image {reference}", f"use one that {by} allows, or add {reference.name} to it")
        if self.require_digest and not reference.digest:
            raise _denied(
                f"Image {reference}", "name it by its digest, as in repository@sha256:…, which this worker wants"
            )

    def check(self, spec: DeploymentSpec) -> None:
        """Refuse a deployment of which anything isn't allowed.

        Raises PolicyDenied.
        """
        self.check_image(ImageReference.parse(spec.image))
        if not _any_matches(self.stages, spec.where):
            raise _denied(f"Stage {spec.where}", "deploy to one that `stages` of the policy has, or add it")
        if spec.cutover:
            self.check_hook(spec.where, spec.cutover.url)
        self._check_wishes(spec.where, _wishes_of(spec))

    def check_container(self, where: str, container: ContainerSpec, labels: Labels) -> None:
        """Refuse a container of a stage that the engine is about to be told to make.

        Raises PolicyDenied.
        """
        self.check_image(ImageReference.parse(container.image))
        ours = {labels.key(label) for label in Label}
        self._check_wishes(
            where,
            _Wishes(
                # The one network is the setting's, and not the caller's.
                networks=(),
                aliases=container.aliases,
                labels=container.labels.keys() - ours,
                volumes=container.volumes.keys(),
                host_ports=[port for port in container.ports.values() if port],
                limits={"memory": container.memory, "cpus": container.cpus, "pids": container.pids},
            ),
        )

    def check_network(self, network: str, where: str = NO_STAGE, aliases: Collection[str] = ()) -> None:
        """Refuse a network, or a container's aliases there, that aren't allowed; the shared one always is.

        Raises PolicyDenied.
        """
        if network != settings().network:
            self._check_each("Network", "networks", [network], where)
        self._check_each("Alias", "aliases", aliases, where)

    def check_hook(self, where: str, url: str) -> None:
        """Refuse a cut-over hook that isn't allowed.

        Raises PolicyDenied.
        """
        place = url.partition("?")[0]
        if not _any_matches(self.hooks, place, where):
            raise _denied(f"Cut-over hook {place}", "use one that `hooks` of the policy allows, or add it")

    def bound(self, container: ContainerSpec) -> ContainerSpec:
        """The same container with what isn't the caller's to choose, and the ceilings where it asks for nothing."""
        address = settings().publish_address
        return replace(
            container,
            publish_address=str(address) if address else None,
            capabilities=self.capabilities,
            memory=container.memory or self.memory,
            cpus=container.cpus or self.cpus,
            pids=container.pids or self.pids,
        )

    def _check_wishes(self, where: str, wishes: "_Wishes") -> None:
        for network in wishes.networks:
            self.check_network(network, where)
        self._check_each("Alias", "aliases", wishes.aliases, where)
        self._check_each("Label", "labels", wishes.labels, where)
        for volume in wishes.volumes:
            if _OF_ITS_OWN.fullmatch(volume):
                raise _denied(f"Volume {volume}", "that is some container's own: use a named one")
        self._check_each("Volume", "volumes", wishes.volumes, where)
        for port in wishes.host_ports:
            if not any(first <= port <= last for first, last in (*self.host_ports, settings().port_range)):
                raise _denied(f"Host port {port}", "let the engine pick one, or add it to `host_ports` of the policy")
        for limit, asked in wishes.limits.items():
            most = getattr(self, limit)
            if asked and most and asked > most:
                raise _denied(f"{limit} {asked:g}", f"ask for {most:g} at most, or raise `{limit}` of the policy")

    def _check_each(self, kind: str, key: str, names: Iterable[str], where: str) -> None:
        for name in sorted(names):
            if not _any_matches(getattr(self, key), name, where):
                raise _denied(f"{kind} {name}", f"use one that `{key}` of the policy allows {where}, or add it")


@dataclass(frozen=True)
class _Wishes:
    """What a deployment, or its container, has of what the policy is about."""

    networks: Collection[str]
    aliases: Collection[str]
    labels: Collection[str]
    volumes: Collection[str]
    host_ports: Collection[int]
    limits: Mapping[str, float | None]


def _wishes_of(spec: DeploymentSpec) -> _Wishes:
    return _Wishes(
        networks=[spec.network] if spec.network else [],
        aliases=spec.aliases,
        labels=spec.labels.keys(),
        volumes=spec.volumes.keys(),
        host_ports=[port for port in spec.ports.values() if isinstance(port, int)],
        limits={"memory": spec.memory, "cpus": spec.cpus, "pids": spec.pids},
    )


def _any_matches(patterns: Iterable[str], text: str, where: str = NO_STAGE) -> bool:
    return any(matches(pattern, text, where) for pattern in patterns)


def _denied(what: str, advice: str) -> PolicyDenied:
    return PolicyDenied(f"{what} is not allowed on this worker: {advice}.", {"step": "accept"})


@cache
def policy() -> Policy:
    """The policy of this process' settings.

    Raises SettingsInvalid.
    """
    values = settings()
    found = _read(values)
    if values.require_signature and not found.producers:
        raise SettingsInvalid(
            "Wrong settings: DW_REQUIRE_SIGNATURE: there is no producer in the policy file (DW_POLICY_FILE) whose "
            "signature could be taken."
        )
    return found


def _read(values: Settings) -> Policy:
    if values.policy_file is None:
        return Policy()
    wrong = f"Wrong settings: DW_POLICY_FILE: {values.policy_file}"
    try:
        if values.policy_file.stat().st_mode & 0o022:
            raise SettingsInvalid(f"{wrong} is writable by others: chmod go-w it.")
        return Policy.model_validate(tomllib.loads(values.policy_file.read_text()))
    except OSError as error:
        raise SettingsInvalid(f"{wrong}: {error.strerror}.") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsInvalid(f"{wrong}: {problems}.") from None
    except ValueError as error:  # tomllib's, and that of what is no text
        raise SettingsInvalid(f"{wrong}: {error}.") from None
