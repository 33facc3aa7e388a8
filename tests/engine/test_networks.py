"""Networks: found by their exact name, connected to without surprise."""

import pytest

from worker.engine import ContainerRef
from worker.errors import ContainerNotFound, NetworkNotFound


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
