"""Networks: found by their exact name, connected to without surprise."""

from ipaddress import IPv4Address, IPv4Network

import docker.types
import pytest

from worker.engine import ContainerRef
from worker.errors import ContainerNotFound, NetworkNotFound, PortInUse, SpecInvalid


@pytest.fixture
def further(engine, name):
    return engine.networks.create(f"{name}-net").name


def test_a_network_is_found_by_its_whole_name(engine, further):
    assert engine.networks.find(further).name == further
    assert engine.networks.find(further[:-1]) is None
    with pytest.raises(NetworkNotFound, match=further[:-1]):
        engine.networks.get(further[:-1])


@pytest.mark.parametrize("running", [True, False])
def test_connecting_and_disconnecting_twice(engine, create, further, running):
    made = create()
    if running:
        engine.containers.start(made)
    for _ in range(2):
        engine.networks.connect(further, made, ["web"])
    assert "web" in engine.containers.inspect(made.id).aliases[further]
    for _ in range(2):
        engine.networks.disconnect(further, made)
    assert further not in engine.containers.inspect(made.id).aliases
    engine.containers.remove(made, force=True)


def test_no_such_network(engine, create):
    made = engine.containers.start(create())
    for call in (engine.networks.connect, engine.networks.disconnect):
        with pytest.raises(NetworkNotFound, match="nowhere"):
            call("nowhere", made)
    engine.containers.remove(made, force=True)


def test_a_stopped_container_finds_out_at_its_start(engine, create, name):
    made = create()
    engine.networks.connect("nowhere", made)
    with pytest.raises(NetworkNotFound, match=name):
        engine.containers.start(made)


def test_no_such_container(engine, further):
    gone = ContainerRef("0123456789abcdef", "gone")
    for call in (engine.networks.connect, engine.networks.disconnect):
        with pytest.raises(ContainerNotFound, match="gone"):
            call(further, gone)


def test_an_engine_gives_a_spare_address_only_to_who_asks_for_it(engine, create, further, name):
    spare = engine.networks.get(further).spare
    first = engine.containers.start(create(network=further))
    assert IPv4Address(first.addresses[further]) not in spare
    asked = str(spare[7])
    engine.networks.disconnect(further, first)
    engine.networks.connect(further, first, ["web"], asked)
    assert engine.containers.inspect(first.id).addresses[further] == asked
    second = engine.containers.start(create(name=f"{name}-2", network=further))
    engine.networks.disconnect(further, second)
    with pytest.raises(PortInUse):
        engine.networks.connect(further, second, [], asked)
    engine.containers.stop(first, 0)
    assert asked in engine.containers.addresses(further)
    for each in (first, second):
        engine.containers.remove(each, force=True)


def test_a_container_is_created_with_an_address(engine, create, further):
    asked = str(engine.networks.get(further).spare[8])
    made = engine.containers.start(create(network=further, aliases=["web"], address=asked))
    assert made.addresses[further] == asked
    engine.containers.remove(made, force=True)


def test_a_network_that_others_made_has_no_spare_address(engine, raw, create, name):
    given = raw.create_network(f"{name}-given", labels=engine.containers.labels.select())
    free = IPv4Network(raw.inspect_network(given)["IPAM"]["Config"][0]["Subnet"])
    pool = docker.types.IPAMPool(subnet=str(free), iprange=str(next(free.subnets())))
    raw.remove_network(given)
    raw.create_network(f"{name}-theirs", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    raw.create_network(f"{name}-plain")
    assert engine.networks.get(f"{name}-theirs").spare is None
    made = engine.containers.start(create())
    with pytest.raises(SpecInvalid):
        engine.networks.connect(f"{name}-plain", made, [], "10.0.0.9")
    engine.containers.remove(made, force=True)
    for each in ("theirs", "plain"):
        raw.remove_network(f"{name}-{each}")


def test_a_network_is_made_after_one_who_died_making_it(engine, raw, name):
    raw.create_network(f"{name}-net-subnet", labels=engine.containers.labels.select())
    assert engine.networks.create(f"{name}-net").spare
    assert engine.networks.find(f"{name}-net-subnet") is None
