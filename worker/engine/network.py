"""Networks: making the shared one, and connecting containers (R8, R9)."""

from collections.abc import Sequence
from dataclasses import dataclass

import docker

from worker.engine.answer import Named
from worker.engine.errors import engine_errors
from worker.errors import EngineUnavailable, NetworkNotFound, SpecInvalid
from worker.labels import Label, Labels


@dataclass(frozen=True)
class Network:
    """A network of the engine."""

    id: str
    name: str


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
        return Network(oldest["Id"], name)

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
        """Make a bridge network.

        Some engines make a second one of a name that is taken, others refuse: look first, under a lock.

        Raises SpecInvalid, EngineUnavailable.
        """
        with engine_errors("network", network=name):
            made = self._api.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels={self._labels.key(Label.NAMESPACE): self._labels.namespace},
            )
        return Network(made["Id"], name)

    def connect(self, network: str, container: Named, aliases: Sequence[str] = ()) -> None:
        """Connect a container; one that is connected already stays as it is.

        Raises NetworkNotFound, ContainerNotFound, EngineUnavailable.
        """
        try:
            with engine_errors("attach", network=network, container=container.name):
                self._api.connect_container_to_network(container.id, network, aliases=list(aliases) or None)
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
