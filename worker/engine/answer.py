"""Containers as the engine's answers show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.secrecy import longest, without

_MOST_SAID = 4096
"""Bytes of what a health check says that the engine keeps."""


class Named(Protocol):
    """A container to act on: by its id, as names can move; called by its name, as people do."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class ContainerRef:
    """A container known from a record."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container as the engine shows it when asked for this one (`GET /containers/{id}/json`)."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: str
    """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead` (`State.Status`)."""
    health: str | None
    """`starting`, `healthy`, `unhealthy`; None without HEALTHCHECK (`State.Health.Status`)."""
    health_log: Sequence[str]
    exit_code: int
    oom_killed: bool
    restart: str
    """Its restart policy (`HostConfig.RestartPolicy.Name`)."""
    restart_count: int
    created: str
    started_at: str
    ports: Mapping[str, int]
    """`8080/tcp` to the host port as bound on IPv4: on 20.10, IPv6's can be another one."""
    addresses: Mapping[str, str]
    """Network name to IPv4 address; empty while the container doesn't run."""
    aliases: Mapping[str, Sequence[str]]
    """Network name to aliases."""
    stop_timeout: int | None = None
    """Seconds that it may take to stop, where it was made with them (`Config.StopTimeout`)."""
    memory: int | None = None
    """The most that it may have, in bytes; None if it has no limit (`HostConfig.Memory`)."""
    secrets: Sequence[str] = field(default=(), repr=False)
    """The values of its secret variables: what it says is shown without them."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A container as a list shows it (`GET /containers/json`)."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: str
    status: str
    created: int
    """Seconds since 1970."""
    ports: Mapping[str, int]
    volumes: Sequence[str] = ()
    """Names of the named ones."""


@dataclass(frozen=True, kw_only=True)
class ContainerEvent:
    """Something that has happened to a container (`GET /events`)."""

    id: str
    labels: Mapping[str, str]
    action: str
    """`die`, `health_status: healthy` and the like."""

    @property
    def is_decisive(self) -> bool:
        """Whether it decides about a container that is to prove itself."""
        return self.action == "die" or self.action.startswith("health_status")


def _said(secrets: Sequence[str], output: str) -> str:
    shown = without(secrets, output).strip()
    is_cut = bool(secrets) and len(output.encode()) >= _MOST_SAID
    return shown[: -longest(secrets)] if is_cut else shown


def secrets_of(config: Mapping[str, Any], label: str) -> list[str]:
    names = (config.get("Labels") or {}).get(label, "").split(",")
    variables = dict(each.partition("=")[::2] for each in config.get("Env") or [])
    return [variables[name] for name in names if name in variables]


def container_of(data: Mapping[str, Any], secrets_label: str) -> Container:
    """Read `GET /containers/{id}/json`; the label names the variables whose values are secret."""
    secrets = secrets_of(data["Config"], secrets_label)
    state, config, settings = data["State"], data["Config"], data["NetworkSettings"]
    health = state.get("Health") or {}
    networks = settings.get("Networks") or {}
    return Container(
        id=data["Id"],
        name=data["Name"].removeprefix("/"),
        image=config["Image"],
        image_id=data["Image"],
        labels=config.get("Labels") or {},
        state=state["Status"],
        # Podman says nothing instead of `none`.
        health=health.get("Status") if health.get("Status") not in {"none", ""} else None,
        health_log=[_said(secrets, str(check.get("Output", ""))) for check in health.get("Log") or []],
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        restart=data["HostConfig"]["RestartPolicy"]["Name"],
        restart_count=data["RestartCount"],
        created=data["Created"],
        started_at=state["StartedAt"],
        ports=bound_ports(settings.get("Ports") or {}),
        addresses={name: end["IPAddress"] for name, end in networks.items() if end.get("IPAddress")},
        aliases={name: tuple(end.get("Aliases") or ()) for name, end in networks.items()},
        stop_timeout=config.get("StopTimeout"),
        memory=data["HostConfig"].get("Memory") or None,
        secrets=secrets,
    )


def bound_ports(ports: Mapping[str, Sequence[Mapping[str, str]] | None]) -> dict[str, int]:
    """The host port of each published one (`NetworkSettings.Ports`), as bound on IPv4."""
    return {
        port: int(binding["HostPort"])
        for port, bindings in ports.items()
        for binding in bindings or ()
        if ":" not in binding["HostIp"]
    }


def listed_of(data: Mapping[str, Any]) -> Listed:
    """Read one of `GET /containers/json`."""
    return Listed(
        id=data["Id"],
        name=data["Names"][0].removeprefix("/") if data.get("Names") else "",
        image=data["Image"],
        image_id=data["ImageID"],
        labels=data.get("Labels") or {},
        state=data["State"],
        status=data["Status"],
        created=data["Created"],
        ports={
            f"{port['PrivatePort']}/{port['Type']}": port["PublicPort"]
            for port in data.get("Ports") or ()
            if port.get("PublicPort") and ":" not in port.get("IP", "")
        },
        volumes=[each["Name"] for each in data.get("Mounts") or () if each.get("Type") == "volume"],
    )


def event_of(data: Mapping[str, Any]) -> ContainerEvent:
    """Read a line of `GET /events`; a container's labels are among its actor's attributes."""
    actor = data.get("Actor") or {}
    labels = {str(name): str(value) for name, value in (actor.get("Attributes") or {}).items()}
    return ContainerEvent(id=str(actor.get("ID", "")), labels=labels, action=str(data.get("Action", "")))
