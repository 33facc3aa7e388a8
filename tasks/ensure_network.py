"""`docker.ensure_network`: make a network where it is missing (R8)."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis.exceptions

from tasks.base import Result, operation
from worker.celery import Lane
from worker.engine import engine
from worker.errors import EngineUnavailable
from worker.policy import policy
from worker.settings import NetworkName
from worker.spec import Arguments
from worker.store import network_lock


class EnsureNetworkArguments(Arguments):
    network: NetworkName


class EnsureNetworkResult(Result):
    network: str
    network_id: str
    created: bool


@operation("docker.ensure_network", Lane.WORK)
def ensure_network(arguments: EnsureNetworkArguments) -> EnsureNetworkResult:
    """Find a network, or make it; a second run finds it.

    Raises PolicyDenied, EngineUnavailable.
    """
    name, networks = arguments.network, engine().networks
    policy().check_network(name)
    if found := networks.find(name):
        return EnsureNetworkResult(network=name, network_id=found.id, created=False)
    # Engines make two networks of one name when asked twice at once.
    with _only_one_makes(name):
        if found := networks.find(name):
            return EnsureNetworkResult(network=name, network_id=found.id, created=False)
        made = networks.create(name)
    return EnsureNetworkResult(network=name, network_id=made.id, created=True)


@contextmanager
def _only_one_makes(name: str) -> Iterator[None]:
    try:
        with network_lock(name):
            yield
    except redis.exceptions.LockError as error:
        raise EngineUnavailable(
            f"Making network {name} failed: another worker has been at it for too long; try again.",
            {"step": "network", "network": name},
        ) from error
