"""An engine that is away or broken: every operation says so in the contract's terms, in time."""

import contextlib
import inspect
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engine_proxy import EngineProxy
from tests.services import required
from worker.engine import Container, ContainerRef, ContainerSpec, Engine, ListedImage, close_engine
from worker.engine import engine as shared_engine
from worker.engine.container import Containers
from worker.engine.image import Images
from worker.engine.network import Networks
from worker.errors import EngineUnavailable, RegistryUnavailable
from worker.labels import Labels
from worker.reference import ImageReference
from worker.settings import settings

LABELS = Labels("docker-watcher", "away")
SHOP = ContainerRef("0123456789abcdef", "the-shop")
IMAGE = ImageReference.parse("127.0.0.1:5000/acme/the-shop:v1")
LISTED = ListedImage("sha256:1", [str(IMAGE)], [], 1, "")
SPEC = ContainerSpec(name="the-shop", image="shop:v1", image_id="sha256:1", network="net")
SEEN = Container(
    id=SHOP.id,
    name=SHOP.name,
    image="shop:v1",
    image_id="sha256:1",
    labels={},
    state="running",
    health=None,
    health_log=(),
    exit_code=0,
    oom_killed=False,
    restart="no",
    restart_count=0,
    created="",
    started_at="",
    ports={},
    addresses={},
    aliases={},
)

OPERATIONS = {
    Images.pull: lambda engine: engine.images.pull(IMAGE, stall_timeout=1),
    Images.inspect: lambda engine: engine.images.inspect("the-shop"),
    Images.find: lambda engine: engine.images.find("the-shop"),
    Images.list: lambda engine: engine.images.list(),
    Images.remove: lambda engine: engine.images.remove(LISTED),
    Containers.create: lambda engine: engine.containers.create(SPEC),
    Containers.make_anew: lambda engine: engine.containers.make_anew(SHOP, "the-shop-anew"),
    Containers.inspect: lambda engine: engine.containers.inspect("the-shop"),
    Containers.managed: lambda engine: engine.containers.managed("the-shop"),
    Containers.labelled: lambda engine: engine.containers.labelled({}),
    Containers.addresses: lambda engine: engine.containers.addresses("the-shop-net"),
    Containers.on_networks: lambda engine: engine.containers.on_networks(["the-shop-net"]),
    Containers.host_ports: lambda engine: engine.containers.host_ports(),
    Containers.find_named: lambda engine: engine.containers.find_named("the-shop"),
    Containers.start: lambda engine: engine.containers.start(SHOP),
    Containers.stop: lambda engine: engine.containers.stop(SHOP, 0),
    Containers.restart: lambda engine: engine.containers.restart(SHOP, 0),
    Containers.remove: lambda engine: engine.containers.remove(SHOP, force=True),
    Containers.rename: lambda engine: engine.containers.rename(SHOP, "other"),
    Containers.set_restart_policy: lambda engine: engine.containers.set_restart_policy(SHOP, "no"),
    Containers.events: lambda engine: list(engine.containers.events(quiet=1)),
    Containers.logs: lambda engine: engine.containers.logs(SEEN, 1),
    Networks.find: lambda engine: engine.networks.find("the-shop-net"),
    Networks.get: lambda engine: engine.networks.get("the-shop-net"),
    Networks.create: lambda engine: engine.networks.create("the-shop-net"),
    Networks.connect: lambda engine: engine.networks.connect("the-shop-net", SHOP),
    Networks.disconnect: lambda engine: engine.networks.disconnect("the-shop-net", SHOP),
}
NAMELESS = {
    *(Containers.host_ports, Containers.addresses, Containers.on_networks, Containers.labelled),
    *(Containers.events, Images.list),
}
# A start or stop answers 204 with no body, and one that is cut is none.
HAVE_NO_BODY = {
    Containers.start,
    Containers.stop,
    Containers.restart,
    Containers.remove,
    Containers.rename,
    Networks.connect,
    Networks.disconnect,
}
HAVE_A_BODY_THAT_NOBODY_READS = {Containers.set_restart_policy}


def operations(*without):
    return [
        pytest.param(operation, call, id=operation.__qualname__)
        for operation, call in OPERATIONS.items()
        if operation not in set().union(*without)
    ]


@pytest.fixture
def folder():
    # pytest's own folders can be longer than the 107 bytes that a socket's path may have.
    folder = tempfile.mkdtemp(prefix="dw-")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def proxy(folder):
    proxy = EngineProxy(folder / "engine.sock", required("DOCKER_HOST"))
    yield proxy
    proxy.close()


@pytest.fixture
def engine(proxy, folder):
    with Engine(labels=LABELS, host=f"unix://{folder / 'engine.sock'}", timeout=1) as engine:
        yield engine


def test_every_operation_is_looked_at_here():
    public = {
        method
        for kind in (Images, Containers, Networks)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public == set(OPERATIONS)


def check(error, operation):
    assert type(error) is EngineUnavailable
    assert error.retryable
    assert "\n" not in error.message
    if operation not in NAMELESS:
        assert "the-shop" in error.message


@pytest.mark.parametrize("fault", ["dropped", "garbage", "500", "elsewhere"])
@pytest.mark.parametrize(("operation", "call"), operations({Images.pull}))
def test_a_broken_answer(proxy, engine, fault, operation, call):
    proxy.fault = fault
    with pytest.raises(EngineUnavailable) as caught:
        call(engine)
    check(caught.value, operation)


@pytest.mark.parametrize(("operation", "call"), operations(HAVE_NO_BODY))
def test_a_body_that_is_cut(proxy, engine, operation, call):
    proxy.fault = "cut"
    with pytest.raises(EngineUnavailable) as caught:
        call(engine)
    check(caught.value, operation)


@pytest.mark.parametrize(("operation", "call"), operations(HAVE_NO_BODY, HAVE_A_BODY_THAT_NOBODY_READS))
def test_an_answer_that_the_engine_api_does_not_have(proxy, engine, operation, call):
    proxy.fault = "nonsense"
    with pytest.raises(EngineUnavailable) as caught:
        call(engine)
    check(caught.value, operation)


@pytest.mark.parametrize(("operation", "call"), operations(HAVE_NO_BODY))
def test_an_answer_without_end(proxy, engine, operation, call):
    proxy.fault = "endless"
    with pytest.raises(EngineUnavailable) as caught:
        call(engine)
    check(caught.value, operation)


@pytest.mark.parametrize("fault", ["dripped", "dripped head", "endless head"])
@pytest.mark.parametrize("operation", [Containers.labelled, Containers.logs])
def test_a_calls_timeout_is_for_its_whole_answer(proxy, engine, fault, operation):
    proxy.fault = fault
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match="in time") as caught:
        OPERATIONS[operation](engine)
    check(caught.value, operation)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", ["dripped", "dripped head", "endless head", "idle talk", "invented layers"])
def test_a_pull_that_is_talked_about_without_end_has_stalled(proxy, engine, fault):
    proxy.fault = fault
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="no progress") as caught:
        OPERATIONS[Images.pull](engine)
    assert caught.value.retryable
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", ["dripped", "dripped head", "endless head"])
def test_events_that_never_come_to_be_one_are_none(proxy, engine, fault):
    """Some of these end as an engine that says nothing does, some as one that can't be heard."""
    proxy.fault = fault
    began = time.monotonic()
    with contextlib.suppress(EngineUnavailable):
        assert OPERATIONS[Containers.events](engine) == []
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("operation", "call"), operations({Images.pull}))
def test_an_engine_that_never_answers_is_not_waited_for(proxy, engine, operation, call):
    proxy.fault = "silent"
    began = time.monotonic()
    # A stop has its own wait on top of the call's bound.
    with pytest.raises(EngineUnavailable) as caught:
        call(engine)
    check(caught.value, operation)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(("fault", "error"), [("dropped", EngineUnavailable), ("silent", RegistryUnavailable)])
def test_a_pull_that_is_not_answered(proxy, engine, fault, error):
    proxy.fault = fault
    with pytest.raises(error, match="acme/the-shop:v1") as caught:
        OPERATIONS[Images.pull](engine)
    assert caught.value.retryable


def test_no_engine_at_the_socket(folder):
    with pytest.raises(EngineUnavailable, match="DOCKER_HOST"):
        Engine(labels=LABELS, host=f"unix://{folder / 'nothing.sock'}")


def test_no_engine_at_the_port():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(EngineUnavailable, match="DOCKER_HOST"):
            Engine(labels=LABELS, host=f"tcp://127.0.0.1:{closed.getsockname()[1]}")


def test_an_address_that_is_none():
    with pytest.raises(EngineUnavailable, match="DOCKER_HOST"):
        Engine(labels=LABELS, host="tcp://127.0.0.1:notaport")


def test_something_else_than_an_engine():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="DOCKER_HOST"):
            Engine(labels=LABELS, host=f"tcp://127.0.0.1:{other.getsockname()[1]}", timeout=1)
        assert time.monotonic() - began < 10


@pytest.fixture
def own_settings(monkeypatch):
    """Settings, and the process' own engine, that are read anew in this test alone."""
    monkeypatch.setenv("DW_ENGINE_TIMEOUT", "1")
    settings.cache_clear()
    yield monkeypatch
    close_engine()
    settings.cache_clear()


def test_threads_that_find_the_engine_silent_wait_at_the_same_time(own_settings):
    with socket.socket() as silent, ThreadPoolExecutor(8) as threads:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        own_settings.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        errors = [asked.exception() for asked in [threads.submit(shared_engine) for _ in range(8)]]
        assert {type(error) for error in errors} == {EngineUnavailable}
        # One after the other they would wait for eight.
        assert time.monotonic() - began < 6


def test_threads_that_ask_at_once_share_one_engine(own_settings):
    at_once = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(lambda: (at_once.wait(10), shared_engine())[1]) for _ in range(8)]
        assert {each.result() for each in asked} == {shared_engine()}
    assert shared_engine().version()


def test_an_engine_that_is_back_is_used_again(proxy, engine):
    proxy.fault = "dropped"
    with pytest.raises(EngineUnavailable):
        engine.containers.labelled({})
    assert engine.version()
