"""What a broken registry becomes: each fault on the manifest or on a layer, through a real engine."""

import time
import uuid

import pytest

from tests.engine.registry_proxy import RegistryProxy
from worker.errors import ImageNotFound, PullDenied, RegistryUnavailable
from worker.reference import ImageReference

STALL = 3

FAULTS = [
    ("401", PullDenied),
    ("403", PullDenied),
    ("404", ImageNotFound),
    ("429", RegistryUnavailable),
    ("500", RegistryUnavailable),
    ("503", RegistryUnavailable),
    ("cut", RegistryUnavailable),
    ("stall", RegistryUnavailable),
]
TABLE = [
    *(("manifest", *row) for row in FAULTS),
    *(("config", *row) for row in FAULTS),
    *(("layer", *row) for row in FAULTS),
    ("layer", "alter", RegistryUnavailable),
]


@pytest.fixture
def proxy(registry):
    proxy = RegistryProxy(registry)
    yield proxy
    proxy.close()


def unseen(make_image, registry, proxy):
    """An image that no engine has a layer of, by way of the proxy."""
    made = make_image(f"faulty-{uuid.uuid4().hex[:8]}", layers=[300_000])
    return ImageReference.parse(str(made).replace(registry, proxy.host))


@pytest.mark.parametrize(("subject", "fault", "error"), TABLE)
def test_each_fault_has_its_error(engine, raw, make_image, registry, login, proxy, subject, fault, error):
    reference = unseen(make_image, registry, proxy)
    proxy.fault = (subject, fault)
    began = time.monotonic()
    with pytest.raises(error) as caught:
        engine.images.pull(reference, login=login, stall_timeout=STALL)
    # The engine's own retries of a layer take 75 s: their lines are no progress, and don't count as such.
    assert time.monotonic() - began < 8 * STALL
    assert type(caught.value) is error
    assert str(reference) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.facts == {"step": "pull", "image": str(reference), "retryable": error is RegistryUnavailable}


def test_without_a_fault_the_proxy_is_no_obstacle(engine, make_image, registry, login, proxy):
    assert engine.images.pull(unseen(make_image, registry, proxy), login=login).downloaded


def test_what_the_engine_says_after_its_own_retries_is_the_registrys_fault(engine, make_image, registry, login, proxy):
    """The one test that waits for all of them: five, 75 seconds."""
    reference = unseen(make_image, registry, proxy)
    proxy.fault = ("layer", "503")
    with pytest.raises(RegistryUnavailable, match="503"):
        engine.images.pull(reference, login=login, stall_timeout=120)
