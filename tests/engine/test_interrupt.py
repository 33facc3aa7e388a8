"""Breaking a pull off from another thread, whatever the engine is at: it ends at once, here and at the registry."""

import contextlib
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine_proxy import connect
from tests.services import required
from tests.throttled_registry import ThrottledRegistry
from worker.engine import Engine
from worker.interrupt import Interrupt, Interrupted
from worker.reference import ImageReference

AT_ONCE = 3.0
"""Seconds, on a busy machine, of what would go on for a minute; tests/flow/test_cancel.py, alone, is stricter."""


class Port(socketserver.ThreadingTCPServer):
    """A TCP port that leads to the engine."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Carrier)
        self.url = f"tcp://127.0.0.1:{self.server_address[1]}"


class _Carrier(socketserver.BaseRequestHandler):
    def handle(self):
        with connect(required("DOCKER_HOST")) as engine:
            answer = threading.Thread(target=carry, args=(engine, self.request), daemon=True)
            answer.start()
            carry(self.request, engine)
            answer.join()


def carry(source, target):
    # Whoever is carried to may have hung up.
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(params=["unix", "tcp"])
def reached(request, engine):
    """The engine, by the socket or by a port."""
    if request.param == "unix":
        yield engine
        return
    with Port() as port:
        threading.Thread(target=port.serve_forever, daemon=True).start()
        with Engine(labels=engine.containers.labels, host=port.url) as by_port:
            yield by_port
        port.shutdown()


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as thread:
        yield thread


def broken_off(engine, registry, interrupt, **options):
    """Pull until it is interrupted; tell when that was."""
    with pytest.raises(Interrupted):
        engine.images.pull(ImageReference.parse(registry.image), interrupt=interrupt, **options)
    return time.monotonic()


def test_a_download_is_broken_off(reached, thread):
    interrupt = Interrupt()
    with ThrottledRegistry() as registry:
        pull = thread.submit(broken_off, reached, registry, interrupt)
        assert registry.has_sent(3_000_000)
        began = time.monotonic()
        interrupt.set()
        assert pull.result(10) - began < AT_ONCE
        assert registry.hung_up.wait(AT_ONCE)
        assert reached.images.find(registry.image) is None


def test_a_pull_of_which_the_engine_says_nothing_is_broken_off(reached, thread):
    """The engine itself, 20.10 as 26.1, goes on waiting for a manifest, and only then finds that nobody does."""
    interrupt = Interrupt()
    with ThrottledRegistry(silent=True) as registry:
        pull = thread.submit(broken_off, reached, registry, interrupt)
        assert registry.asked.wait(10)
        began = time.monotonic()
        interrupt.set()
        assert pull.result(10) - began < AT_ONCE


def test_listening_is_broken_off(reached, thread):
    interrupt, listens = Interrupt(), threading.Event()

    def listen():
        listens.set()
        with pytest.raises(Interrupted):
            list(reached.containers.events(quiet=60, interrupt=interrupt))
        return time.monotonic()

    ended = thread.submit(listen)
    assert listens.wait(10)
    began = time.monotonic()
    interrupt.set()
    assert ended.result(10) - began < AT_ONCE


def test_a_pull_that_was_broken_off_before_is_never_asked_for(engine):
    interrupt = Interrupt()
    interrupt.set()
    with ThrottledRegistry() as registry:
        broken_off(engine, registry, interrupt)
        assert not registry.asked.is_set()


def test_one_pull_is_broken_off_and_no_other(engine, thread, make_image, login):
    """Connections that are shared would be closed for whoever has them next."""
    reference, interrupt = make_image("beside", layers=[1_000_000]), Interrupt()
    with ThrottledRegistry() as registry:
        pull = thread.submit(broken_off, engine, registry, interrupt)
        assert registry.has_sent(1)
        engine.images.pull(reference, login=login, on_progress=lambda _: interrupt.set())
        pull.result(10)
