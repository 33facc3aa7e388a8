"""A password is never told in clear off the engine's machine: an engine with insecure registries, and who listens."""

import pytest

from tests.engine.registry_proxy import Handler, RegistryProxy
from tests.second_engine import with_options
from worker.engine import Engine
from worker.errors import PolicyDenied, PullDenied
from worker.labels import Labels
from worker.reference import ImageReference

pytestmark = pytest.mark.needs_private_engine


class Listening(Handler):
    """Notes what it is told, and asks for a password."""

    def do_GET(self):  # noqa: N802  # as http.server wants it
        self.server.told.append(self.headers.get("Authorization"))
        self.refuse(401, {"errors": [{"code": "UNAUTHORIZED"}]}, ("WWW-Authenticate", 'Basic realm="listening"'))

    do_HEAD = do_GET  # noqa: N815  # likewise


@pytest.fixture(scope="module")
def address(raw, network):
    """One of this machine's that isn't loopback: that of a network's bridge."""
    return raw.inspect_network(network)["IPAM"]["Config"][0]["Gateway"]


@pytest.fixture(scope="module")
def insecure_engine(worker_id, address):
    options = (f"--insecure-registry={address}/32", "--insecure-registry=registry.example.com:5000")
    with (
        with_options(worker_id, *options, "--registry-mirror=http://mirror.example.com") as host,
        Engine(labels=Labels("docker-watcher", "insecure"), host=host) as engine,
    ):
        yield engine


@pytest.fixture
def listening(address):
    registry = RegistryProxy(None, Listening, address)
    registry.told = []
    yield registry
    registry.close()


def test_a_password_is_not_told_in_clear(insecure_engine, listening, login):
    reference = ImageReference.parse(f"{listening.host}/acme/shop:1")
    with pytest.raises(PolicyDenied, match="in clear") as caught:
        insecure_engine.images.pull(reference, login=login)
    assert listening.told == []
    assert str(reference) in caught.value.message
    # So it would have been: the engine comes without a login, and without TLS.
    with pytest.raises(PullDenied):
        insecure_engine.images.pull(reference)
    assert set(listening.told) == {None}


@pytest.mark.parametrize("image", ["registry.example.com:5000/acme/shop:1", "acme/shop:1"], ids=["by name", "mirror"])
def test_nor_to_a_registry_or_a_mirror_that_is_insecure_by_name(insecure_engine, login, image):
    with pytest.raises(PolicyDenied, match=r"\.example\.com"):
        insecure_engine.images.pull(ImageReference.parse(image), login=login)


def test_on_the_engines_own_machine_it_is(insecure_engine, make_image, login):
    assert insecure_engine.images.pull(make_image("in-clear", layers=[1000]), login=login).digest
