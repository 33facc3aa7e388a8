"""Networks: making the shared one, and connecting containers (R8, R9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import docker
from docker.types import IPAMConfig, IPAMPool

from worker.engine.answer import Named
from worker.engine.errors import engine_errors
from worker.errors import EngineUnavailable, NetworkNotFound, SpecInvalid
from worker.labels import Label, Labels


@dataclass(frozen=True)
class Network:
    """A network of the engine."""

    id: str
    name: str
    spare: IPv4Network | None = None
    """Addresses that the engine gives to nobody unless asked; of networks that docker-watcher has made."""


class Networks:
    """The networks of one engine."""

    def __init__(self, api: docker.APIClient, labels: Labels) -> None:
        self._api = api
        self._labels = labels

    def find(self, name: str) -> Network | None:
        """The network of exactly this name, the oldest where there are several.

        Raises EngineUnavailable.
        """
        with engine_errors("network", network=name):
            # The engine's filter matches parts of names.
            found = [each for each in self._api.networks(names=[name]) if each["Name"] == name]
            if not found:
                return None
            oldest = min(found, key=lambda each: (each["Created"], each["Id"]))
            return Network(oldest["Id"], name, self._spare(oldest))

    def get(self, name: str) -> Network:
        """As `find`.

        Raises NetworkNotFound, EngineUnavailable.
        """
        network = self.find(name)
        if network is None:
            raise NetworkNotFound(
                f"Looking for network {name} failed: the engine has none of that name; check it, or make it.",
                {"step": "network", "network": name},
            )
        return network

    def create(self, name: str) -> Network:
        """Make a bridge network, half of its addresses spare.

        Some engines make a second one of a name that is taken, others refuse: look first, under a lock.

        Raises SpecInvalid, EngineUnavailable.
        """
        try:
            subnet, gateway = self._free_subnet(f"{name}-subnet")
        except NetworkNotFound as error:
            # Who stood still for so long that its lock was over finds that another one has gone on.
            if found := self.find(name):
                return found
            raise EngineUnavailable(
                f"Making network {name} failed: another worker is at it; try again.", error.facts
            ) from error
        lower, _ = subnet.subnets()
        pool = IPAMPool(subnet=str(subnet), iprange=str(lower), gateway=gateway)
        try:
            self._make(name, IPAMConfig(pool_configs=[pool]))
        except SpecInvalid:
            # Somebody else's network has the subnet by now.
            self._make(name, None)
        return self.get(name)

    def _free_subnet(self, probe: str) -> tuple[IPv4Network, str | None]:
        """A subnet that is nobody's, with its gateway: which one is free, only the engine knows."""
        if self.find(probe) is None:
            self._make(probe, None)
        with engine_errors("network", network=probe):
            config = self._api.inspect_network(probe)["IPAM"]["Config"][0]
            self._api.remove_network(probe)
            return IPv4Network(config["Subnet"]), config.get("Gateway")

    def _make(self, name: str, ipam: IPAMConfig | None) -> None:
        with engine_errors("network", network=name):
            self._api.create_network(
                name,
                driver="bridge",
                ipam=ipam,
                check_duplicate=True,
                labels={self._labels.key(Label.NAMESPACE): self._labels.namespace},
            )

    def _spare(self, network: dict[str, Any]) -> IPv4Network | None:
        # Others' networks may keep addresses from their engine for machines of their own.
        if self._labels.key(Label.NAMESPACE) not in (network["Labels"] or {}):
            return None
        config = network["IPAM"]["Config"][0]
        return list(IPv4Network(config["Subnet"]).subnets())[1] if config.get("IPRange") else None

    def connect(self, network: str, container: Named, aliases: Sequence[str] = (), address: str | None = None) -> None:
        """Connect a container, under an address that the engine picks unless one is given.

        One that is connected already stays as it is. Raises NetworkNotFound, ContainerNotFound, EngineUnavailable;
        for an address, PortInUse where it is somebody's, and SpecInvalid where the engine alone gives this network's.
        """
        try:
            with engine_errors("attach", network=network, container=container.name):
                self._api.connect_container_to_network(
                    container.id, network, aliases=list(aliases) or None, ipv4_address=address
                )
        except SpecInvalid as error:
            # 403 on 20.10 and on 26.1 for a running container, with these words; a stopped one answers 200.
            if "already exists in network" not in error.message:
                raise

    def disconnect(self, network: str, container: Named) -> None:
        """Disconnect a container; one that isn't connected stays as it is.

        Raises NetworkNotFound, ContainerNotFound, EngineUnavailable.
        """
        try:
            with engine_errors("detach", network=network, container=container.name):
                self._api.disconnect_container_from_network(container.id, network)
        except EngineUnavailable as error:
            # 500, in these words: nothing else tells it from an engine that fails inside itself.
            if "is not connected to" not in error.message:
                raise
