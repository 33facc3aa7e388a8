"""Containers: creating, starting, stopping, removing, listing, reading (R4-R7)."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors
import urllib3.exceptions
from docker.types import LogConfig, NetworkingConfig

from worker.engine.answer import (
    Container,
    ContainerEvent,
    Listed,
    Named,
    container_of,
    event_of,
    listed_of,
    secrets_of,
)
from worker.engine.connection import last_output, messages, streamed
from worker.engine.errors import Subject, engine_errors
from worker.errors import ContainerNotFound, DeploymentError, NotManaged, SpecInvalid
from worker.interrupt import Interrupt
from worker.labels import SHORTEST_ID, Label, Labels
from worker.secrecy import longest, without
from worker.wire import Deadline

_TOLD = ["start", "die", "health_status", "rename", "destroy"]
"""The events after which a container is another one to who looks; `oom` comes before the end of what it kills, or kills
a part only."""
_MOST_OUTPUT = 2**20


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """All that the engine is told when it creates a container."""

    name: str
    image: str
    """What people call the image that `image_id` is."""
    image_id: str
    network: str
    aliases: Sequence[str] = ()
    address: str | None = None
    """On `network`; None has the engine pick one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More of its environment, which no error of the engine's repeats."""
    ports: Mapping[str, int | None] = field(default_factory=dict)
    """`8080/tcp` to a host port; None has the engine pick a free one (R13)."""
    publish_address: str | None = None
    """The host's address that these are on; None has the engine decide, which takes all of them."""
    command: Sequence[str] | None = None
    user: str | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    """A named volume to a path in the container."""
    memory: int | None = None
    """Bytes."""
    cpus: float | None = None
    pids: int | None = None
    read_only: bool = False
    capabilities: Sequence[str] = ()
    """All that root has in it, as in `NET_BIND_SERVICE`."""
    init: bool = False
    """Run the engine's own init as process 1."""
    stop_timeout: int | None = None
    """Seconds."""
    restart: str = "no"


class Containers:
    """The containers of one engine; the ones of other installations, or of nobody, are refused."""

    def __init__(self, api: docker.APIClient, labels: Labels) -> None:
        self._api = api
        self.labels = labels

    def create(self, spec: ContainerSpec) -> str:
        """Create a container on `spec.network` and on no other, and return its id.

        Not idempotent: the engine answers a second run with NameConflict. Aliases are given here, because a
        later connect to the same network applies them on 20.10 and silently doesn't on 26.1.

        Raises ImageNotFound, NameConflict, NetworkNotFound, SpecInvalid, EngineUnavailable.
        """
        secrets = list(spec.secrets.values())
        with engine_errors("create", container=spec.name, image=spec.image, secrets=secrets):
            created = self._api.create_container(
                image=spec.image_id,
                name=spec.name,
                # The proxies of the worker's own ~/.docker/config.json are none of the container's business.
                use_config_proxy=False,
                command=list(spec.command) if spec.command is not None else None,
                user=spec.user,
                environment={**spec.environment, **spec.secrets},
                labels=dict(spec.labels),
                ports=[_port_and_protocol(port) for port in spec.ports],
                host_config=self._host_config(spec),
                networking_config=self._networking_config(spec),
                stop_timeout=spec.stop_timeout,
            )
            return str(created["Id"])

    def _host_config(self, spec: ContainerSpec) -> Any:
        return self._api.create_host_config(
            network_mode=spec.network,
            port_bindings={port: _binding(spec.publish_address, host_port) for port, host_port in spec.ports.items()},
            binds=[f"{volume}:{path}" for volume, path in spec.volumes.items()],
            mem_limit=spec.memory,
            nano_cpus=int(spec.cpus * 1e9) if spec.cpus else None,
            pids_limit=spec.pids,
            read_only=spec.read_only,
            init=spec.init,
            cap_drop=["ALL"],
            cap_add=list(spec.capabilities),
            # A program that is setuid gains nothing by it.
            security_opt=["no-new-privileges"],
            restart_policy=_restart_policy(spec.restart),
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
        )

    def _networking_config(self, spec: ContainerSpec) -> NetworkingConfig:
        endpoint = self._api.create_endpoint_config(aliases=list(spec.aliases) or None, ipv4_address=spec.address)
        # The stubs ask for an endpoint; the SDK and the Engine API, for endpoints by network.
        return NetworkingConfig({spec.network: endpoint})  # type: ignore[arg-type]

    def make_anew(self, container: Named, name: str) -> str:
        """Create a container like one that isn't running, with its very volumes, and return its id.

        It has all that the engine was told of that one, its networks, aliases and addresses included; what that one
        has written elsewhere than to volumes, it lacks. Not idempotent, as `create`.

        Raises ContainerNotFound, NameConflict, NetworkNotFound, SpecInvalid, EngineUnavailable.
        """
        with engine_errors("look", container=container.name):
            known = self._api.inspect_container(container.id)
            ends = {each: _asked_of(end, known["Id"]) for each, end in known["NetworkSettings"]["Networks"].items()}
            # Not every engine takes more than one network here.
            first = known["HostConfig"]["NetworkMode"]
            end = self._api.create_endpoint_config(**ends.pop(first, {}))
            config = {
                **known["Config"],
                # It is of the container's id, where none is given.
                "Hostname": "",
                # By their names, anonymous volumes would outlive their container.
                "HostConfig": {**known["HostConfig"], "VolumesFrom": [known["Id"]]},
                "NetworkingConfig": {"EndpointsConfig": {first: end}},
            }
            image, secrets = config["Image"], secrets_of(config, self.labels.key(Label.SECRETS))
        with engine_errors("create", container=name, image=image, secrets=secrets):
            # The stubs leave it untyped.
            created = self._api.create_container_from_config(config=config, name=name)  # type: ignore[no-untyped-call]
            made = str(created["Id"])
        for network, asked in ends.items():
            with engine_errors("attach", network=network, container=name):
                self._api.connect_container_to_network(made, network, **asked)
        return made

    def inspect(self, container: str) -> Container:
        """Read any container.

        Raises ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("look", container=container):
            return container_of(self._api.inspect_container(container), self.labels.key(Label.SECRETS))

    def managed(self, container: str) -> Container:
        """Read a managed container by its id, 12 characters at least, or by its exact name.

        Raises ContainerNotFound, NotManaged, EngineUnavailable.
        """
        name = container.removeprefix("/")
        found = self.inspect(name)
        by_id = len(container) >= SHORTEST_ID and found.id.startswith(container)
        if not by_id and found.name != name:
            raise ContainerNotFound(
                f"Looking at container {container} failed: that is neither a whole name nor {SHORTEST_ID} "
                "characters of an id; give one of them.",
                {"step": "look", "container": container},
            )
        if not self.labels.are_ours(found.labels):
            raise NotManaged(
                f"Container {container} isn't managed by docker-watcher in namespace {self.labels.namespace}: "
                "it is left alone; see to it by docker itself, or by the namespace that it is of.",
                {"step": "look", "container": container},
            )
        return found

    def labelled(self, labels: Mapping[str, str], *, every_state: bool = True) -> list[Listed]:
        """List the containers with all of these labels, newest first."""
        filters = {"label": [f"{name}={value}" if value else name for name, value in labels.items()]}
        # The low-level list is one call; the high-level one inspects each and fails if one vanishes meanwhile.
        with engine_errors("list"):
            found = self._api.containers(all=every_state, filters=filters)
            return sorted((listed_of(data) for data in found), key=lambda each: (-each.created, each.id))

    def host_ports(self) -> set[int]:
        """The host ports of all containers, of whomever, and those that stopped ones keep.

        Raises EngineUnavailable.
        """
        with engine_errors("list"):
            found = self._api.containers(all=True)
            bound = {port["PublicPort"] for each in found for port in each.get("Ports") or () if port.get("PublicPort")}
            kept = ((each.get("Labels") or {}).get(self.labels.key(Label.KEPT_PORTS), "") for each in found)
            return bound | {int(port) for ports in kept for port in ports.split(",") if port.isdecimal()}

    def addresses(self, network: str) -> set[str]:
        """The addresses on a network of all containers, of whomever, and those that stopped ones keep.

        Raises EngineUnavailable.
        """
        with engine_errors("list"):
            found = self._api.containers(all=True)
            ends = [end for each in found if (end := each["NetworkSettings"]["Networks"].get(network))]
            kept = {(end.get("IPAMConfig") or {}).get("IPv4Address", "") for end in ends}
            return {end["IPAddress"] for end in ends} | kept

    def on_networks(self, networks: Sequence[str]) -> list[Listed]:
        """The containers, of whomever and in every state, that are on any of these networks.

        Raises EngineUnavailable.
        """
        with engine_errors("list"):
            found = self._api.containers(all=True, filters={"network": list(networks)})
            return [listed_of(data) for data in found]

    def find_named(self, name: str) -> Listed | None:
        """The container, of whomever, that has exactly this name."""
        with engine_errors("look", container=name):
            found = self._api.containers(all=True, filters={"name": f"^/{name}$"})
            return next((listed_of(data) for data in found if f"/{name}" in data["Names"]), None)

    def events(self, *, quiet: float, interrupt: Interrupt | None = None) -> Generator[ContainerEvent, None, None]:
        """Tell of each managed container that starts, dies, is renamed or removed, or changes in health, from now on.

        Ends where the engine ends it, and after `quiet` seconds without an event: a connection that is lost without a
        word is silent as well. An event has 1 MiB at the most.

        Raises EngineUnavailable; Interrupted, from another thread and also while the engine says nothing.
        """
        ours = [f"{name}={value}" for name, value in self.labels.select().items()]
        filters = {"type": ["container"], "event": _TOLD, "label": ours}
        deadline = Deadline(quiet)
        with (
            engine_errors("events"),
            streamed(
                self._api,
                "GET",
                "/events",
                params={"filters": json.dumps(filters)},
                deadline=deadline,
                interrupt=interrupt or Interrupt(),
            ) as answer,
        ):
            try:
                for message in messages(Subject("events"), answer):
                    deadline.put_off()
                    yield event_of(message)
            except (TimeoutError, urllib3.exceptions.ReadTimeoutError):
                return

    def start(self, container: Named) -> Container:
        """Start a container and read it; one that runs already stays as it is (304).

        Raises StartFailed, PortInUse, NetworkNotFound, ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("start", container=container.name), self._telling_no_secrets_of(container):
            self._api.start(container.id)
        return self.inspect(container.id)

    def stop(self, container: Named, timeout: int) -> None:
        """Stop a container by its own signal, by force after `timeout` seconds; a stopped one stays as it is (304).

        Raises ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("stop", container=container.name):
            self._api.stop(container.id, timeout=timeout)

    def restart(self, container: Named, timeout: int) -> Container:
        """Stop a container as `stop` does, start it, and read it: its random ports may be others now.

        Raises StartFailed, PortInUse, ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("restart", container=container.name), self._telling_no_secrets_of(container):
            self._api.restart(container.id, timeout=timeout)
        return self.inspect(container.id)

    @contextmanager
    def _telling_no_secrets_of(self, container: Named) -> Iterator[None]:
        """An engine's answer, less what its runtime may repeat of a container's environment: that is asked for then."""
        try:
            yield
        except docker.errors.APIError as error:
            try:
                secrets = self.inspect(container.id).secrets
            except DeploymentError:
                error.explanation = f"the engine answers {error.status_code}"
            else:
                error.explanation = without(secrets, str(error.explanation or error))
            raise

    def remove(self, container: Named, *, force: bool) -> bool:
        """Remove a container and its anonymous volumes; False if it was gone, or on its way, already.

        Raises SpecInvalid for a running one without `force`, EngineUnavailable.
        """
        try:
            with engine_errors("remove", container=container.name):
                self._api.remove_container(container.id, v=True, force=force)
        except ContainerNotFound:
            return False
        except SpecInvalid as error:
            if "already in progress" in error.message:
                return False
            raise
        return True

    def set_restart_policy(self, container: Named, policy: str) -> None:
        """Have the engine restart a container as `ContainerSpec.restart` says.

        Raises ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("update", container=container.name):
            # The stubs' type for a policy exists in the stubs alone.
            self._api.update_container(container.id, restart_policy=_restart_policy(policy))  # type: ignore[arg-type]

    def rename(self, container: Named, name: str) -> None:
        """Give a container another name, in the DNS of its networks too.

        Raises NameConflict, ContainerNotFound, EngineUnavailable.
        """
        with engine_errors("rename", container=container.name):
            self._api.rename(container.id, name)

    def logs(self, container: Container, tail: int) -> list[str]:
        """The last lines that a container wrote to standard output and error, oldest first, without its secrets.

        There can be fewer than `tail`, and of the first of them only the end: no more than the last 1 MiB is read.

        Raises ContainerNotFound, EngineUnavailable.
        """
        subject = Subject("logs", container=container.name)
        with (
            engine_errors("logs", container=container.name),
            streamed(
                self._api,
                "GET",
                f"/containers/{container.id}/logs",
                params={"stdout": "1", "stderr": "1", "tail": str(tail)},
                deadline=Deadline(self._api.timeout),
                interrupt=Interrupt(),
            ) as answer,
        ):
            text = last_output(subject, answer, _MOST_OUTPUT)
        shown = without(container.secrets, text.decode(errors="replace"))
        if len(text) == _MOST_OUTPUT:
            # Of a secret, the rest may be all that is left at the beginning.
            shown = shown[longest(container.secrets) :]
        return shown.splitlines()


def _port_and_protocol(port: str) -> tuple[str, str]:
    number, _, protocol = port.partition("/")
    return number, protocol or "tcp"


def _binding(address: str | None, host_port: int | None) -> tuple[str, int] | tuple[str] | int | None:
    # As the SDK has them: one of two with None in it would ask for the host port "None".
    if address is None:
        return host_port
    return (address,) if host_port is None else (address, host_port)


def _asked_of(end: Mapping[str, Any], container_id: str) -> dict[str, Any]:
    """What the engine was told of a container's end of a network."""
    # The engine itself gives each container its id as an alias.
    aliases = [alias for alias in end.get("Aliases") or () if alias != container_id[:SHORTEST_ID]]
    return {"aliases": aliases or None, "ipv4_address": (end.get("IPAMConfig") or {}).get("IPv4Address")}


def _restart_policy(text: str) -> dict[str, str | int]:
    name, _, count = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}
