"""`docker.connect`: put a managed container on one more network (R9)."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from tasks.base import Result, operation
from tasks.managed import managed
from worker import plan
from worker.celery import Lane
from worker.engine import Container, engine
from worker.errors import PortInUse, SpecInvalid, Transient
from worker.policy import policy
from worker.settings import NetworkName
from worker.spec import Alias, ContainerArguments


class ConnectArguments(ContainerArguments):
    network: NetworkName
    aliases: list[Alias] = []


class ConnectResult(Result):
    network: str
    network_id: str
    container_id: str
    container_name: str
    addresses: list[str]
    ports: dict[str, int]
    """As they are now: an engine may give a running container others when it joins a network."""


@operation("docker.connect", Lane.WORK)
def connect(arguments: ConnectArguments) -> ConnectResult:
    """Connect a container to a network that exists; a second run finds it connected.

    A connected container that lacks one of the aliases is disconnected first: engines don't add aliases.
    """
    found = managed(arguments.container)
    where = engine().containers.labels.stage_of(found)
    policy().check_network(arguments.network, where, arguments.aliases)
    network = engine().networks.get(arguments.network)
    check_aliases(where, arguments.aliases, [network.name])
    container = attach(network.name, found, arguments.aliases)
    address = container.addresses.get(network.name)
    return ConnectResult(
        network=network.name,
        network_id=network.id,
        container_id=container.id,
        container_name=container.name,
        addresses=[address] if address else [],
        ports=dict(container.ports),
    )


def check_aliases(where: str, aliases: Sequence[str], networks: Sequence[str]) -> None:
    """Refuse aliases by which containers of another stage, or of nobody here, are found on these networks.

    Raises NameConflict.
    """
    if aliases:
        containers = engine().containers
        plan.check_aliases(containers.labels, where, aliases, containers.on_networks(networks))


def detach(container: Container, aliases: Sequence[str]) -> Container:
    """Take aliases from a container on each of its networks, and read it: its random ports may be others then.

    It keeps its address, where the network allows that, and with it its connections (measured).
    """
    for network, held in container.aliases.items():
        if set(aliases) & set(held):
            engine().networks.disconnect(network, container)
            _connect(network, container, set(held) - set(aliases), container.addresses.get(network))
    return engine().containers.inspect(container.id)


def attach(network: str, container: Container, aliases: Sequence[str]) -> Container:
    """Have a container on a network under these aliases, and read it: its random ports may be others then."""
    present = container.aliases.get(network)
    if present is not None and set(aliases) <= set(present):
        return container
    address = lasting_address(network) if aliases else None
    if present is not None:
        engine().networks.disconnect(network, container)
    _connect(network, container, {*aliases, *(present or ())}, address)
    return engine().containers.inspect(container.id)


def lasting_address(network: str) -> str | None:
    """An address for a container that is to serve by aliases, or None where the engine alone gives the network's.

    No container that starts gets it: neither while this one is off the network for a moment, to lose its aliases, nor
    once it is gone and somebody still knows its address.
    """
    spare = engine().networks.get(network).spare
    return plan.spare_address(spare, engine().containers.addresses(network)) if spare else None


def _connect(network: str, container: Container, aliases: AbstractSet[str], address: str | None) -> None:
    # The engine itself gives each container its id as an alias.
    connect = partial(engine().networks.connect, network, container, sorted(aliases - {container.id[:12]}))
    try:
        connect(address)
    except Transient:
        # Tried again at once: a later run would not know the aliases that it had.
        connect(address)
    except (SpecInvalid, PortInUse):
        # The address is somebody else's by now, or the network is none of which one may ask for addresses.
        connect(None)
