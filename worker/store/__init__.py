"""What is kept in Redis: records of deployments, sealed credentials, what was pulled, counts.

Each key's name has its home here.
"""

from functools import cache

import redis
from redis.lock import Lock

from worker import address
from worker.orders import key_prefix
from worker.settings import settings
from worker.store.credentials import Credential, Credentials
from worker.store.deployments import Closed, Committed, Deployments, Due, Moved, Workload
from worker.store.hosts import Announcement, Host, Hosts, ToldContainer
from worker.store.images import KnownImages, PulledImages
from worker.store.nonces import Nonces, Seen
from worker.store.pulls import Brought, Led, Pulls
from worker.store.reading import Past, Standing
from worker.store.redeliveries import Redeliveries
from worker.store.sealed import Resealed, Sealed

__all__ = [
    "Announcement",
    "Brought",
    "Closed",
    "Committed",
    "Credential",
    "Credentials",
    "Deployments",
    "Due",
    "Host",
    "Hosts",
    "KnownImages",
    "Led",
    "Moved",
    "Nonces",
    "Past",
    "PulledImages",
    "Pulls",
    "Redeliveries",
    "Resealed",
    "Sealed",
    "Seen",
    "Standing",
    "ToldContainer",
    "Workload",
    "connection",
    "credentials",
    "deployments",
    "hosts",
    "key_prefix",
    "network_lock",
    "nonces",
    "pulled_images",
    "pulls",
    "redeliveries",
    "sealed",
]


@cache
def connection(answer_within: float = 10) -> redis.Redis:
    """The Redis of this process' settings, given so many seconds to answer; threads may share its pool."""
    url = settings().redis_url
    return redis.Redis.from_url(
        address.without_parameters(url),
        **address.tls(url),
        decode_responses=True,
        socket_timeout=answer_within,
        socket_connect_timeout=min(5, answer_within),
        health_check_interval=30,
    )


@cache
def deployments() -> Deployments:
    return Deployments(connection(), key_prefix(settings()), settings())


@cache
def credentials() -> Credentials:
    return Credentials(connection(), key_prefix(settings()))


@cache
def hosts() -> Hosts:
    return Hosts(connection(), key_prefix(settings()), settings())


@cache
def sealed() -> Sealed:
    return Sealed(connection(), key_prefix(settings()))


@cache
def pulled_images() -> PulledImages:
    return PulledImages(connection(), key_prefix(settings()), settings().host)


@cache
def pulls() -> Pulls:
    return Pulls(connection(), key_prefix(settings()), settings().host)


@cache
def nonces() -> Nonces:
    return Nonces(connection(), key_prefix(settings()))


@cache
def redeliveries() -> Redeliveries:
    return Redeliveries(connection(), key_prefix(settings()))


def network_lock(name: str) -> Lock:
    """Held by the worker of this host that makes a network; a dead worker's lasts no longer than its leases.

    Entering raises `redis.exceptions.LockError` where another one has it for half a minute.
    """
    key = f"{key_prefix(settings())}lock:network:{settings().host}:{name}"
    # A network that took longer than that to make is made all the same.
    return Lock(connection(), key, timeout=settings().lease_seconds, blocking_timeout=30, raise_on_release_error=False)
