"""Whether the engine would show a registry's password to who listens on the way, or to who answers in its name."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from worker.reference import DOCKER_HUB

Address = IPv4Address | IPv6Address


class AddressUnknown(Exception):
    """A host's name can't be resolved."""


def is_this_machine(registry: str) -> bool:
    """Whether a registry is on the engine's own machine, whatever any resolver says."""
    host = _host(registry)
    address = _literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def exposed(config: Mapping[str, Any], registry: str) -> str | None:
    """The host that the engine would tell a registry's password over plain HTTP, or TLS that it doesn't verify.

    `config` is `RegistryConfig` of `GET /info`. The host is the registry itself or, of Docker Hub, one of the engine's
    mirrors: to these it offers the Hub's password as well. A name that an insecure network may hold is resolved here,
    as the engine does it there. Raises AddressUnknown.
    """
    mirrors = [urlsplit(each) for each in (config.get("Mirrors") or [])] if registry == DOCKER_HUB else []
    plain = [each.netloc for each in mirrors if each.scheme == "http" and not is_this_machine(each.netloc)]
    others = [each.netloc for each in mirrors if each.scheme != "http"]
    insecure = (each for each in [*others, registry] if not is_this_machine(each) and _is_insecure(config, each))
    return next(iter([*plain, *insecure]), None)


def _is_insecure(config: Mapping[str, Any], registry: str) -> bool:
    indexes = (config.get("IndexConfigs") or {}).items()
    named = [bool(each.get("Secure")) for name, each in indexes if name.lower() == registry.lower()]
    if named:
        return not all(named)
    # What is loopback to the engine, by its own resolver, is no way off its machine.
    known = map(ip_network, config.get("InsecureRegistryCIDRs") or [])
    networks = [each for each in known if not each.is_loopback]
    return bool(networks) and any(address in network for address in _addresses(registry) for network in networks)


def _addresses(registry: str) -> Sequence[Address]:
    host = _host(registry)
    if address := _literal(host):
        return [address]
    try:
        return list(_resolved(host))
    except OSError as error:
        raise AddressUnknown(str(error.strerror or error)) from error


def _resolved(host: str) -> Iterator[Address]:
    for *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        yield ip_address(str(place[0]).partition("%")[0])


def _host(registry: str) -> str:
    return (urlsplit(f"//{registry}").hostname or "").removesuffix(".")


def _literal(host: str) -> Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    # As the engine takes it: ::ffff:127.0.0.1 is IPv4's.
    return getattr(address, "ipv4_mapped", None) or address
