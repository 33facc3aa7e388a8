"""What a broken registry becomes: each fault on the manifest or on a layer, through a real engine."""

import hashlib
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.engine.registry_proxy import RegistryProxy, basic
from worker.errors import ImageNotFound, PullDenied, RegistryUnavailable
from worker.reference import ImageReference

STALL = 3
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

FAULTS = [
    ("401", PullDenied),
    ("403", PullDenied),
    ("404", ImageNotFound),
    ("429", RegistryUnavailable),
    ("500", RegistryUnavailable),
    ("503", RegistryUnavailable),
    ("cut", RegistryUnavailable),
    ("stall", RegistryUnavailable),
    ("hang", RegistryUnavailable),
]
TABLE = [
    *(("manifest", *row) for row in FAULTS),
    *(("config", *row) for row in FAULTS),
    *(("layer", *row) for row in FAULTS),
    ("manifest", "endless", RegistryUnavailable),
    ("config", "endless", RegistryUnavailable),
    ("config", "alter", RegistryUnavailable),
    ("layer", "alter", RegistryUnavailable),
]


@pytest.fixture
def proxy(registry, shop):
    # An engine fetches a layer once for all who ask meanwhile, and all get its fault: `shop`, pulled before, has
    # the one layer that all job images share.
    proxy = RegistryProxy(registry)
    yield proxy
    proxy.close()


def unseen(make_image, registry, proxy):
    """An image with a large layer that no engine has, by way of the proxy."""
    made = make_image(f"faulty-{uuid.uuid4().hex[:8]}", layers=[300_000])
    return ImageReference.parse(str(made).replace(registry, proxy.host))


@pytest.mark.parametrize(("subject", "fault", "error"), TABLE)
def test_each_fault_has_its_error(engine, raw, make_image, registry, login, proxy, subject, fault, error):
    reference = unseen(make_image, registry, proxy)
    proxy.fault = (subject, fault)
    # Pulls of other tests can hold all of the engine's download slots for a while, which must not pass for a stall.
    stall_timeout = STALL if error is RegistryUnavailable else 10 * STALL
    began = time.monotonic()
    with pytest.raises(error) as caught:
        engine.images.pull(reference, login=login, stall_timeout=stall_timeout)
    # The engine's own retries of a layer take 75 s: their lines are no progress, and don't count as such.
    assert time.monotonic() - began < 8 * stall_timeout
    assert type(caught.value) is error
    assert str(reference) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.facts == {"step": "pull", "image": str(reference), "retryable": error is RegistryUnavailable}


def test_a_manifest_that_is_not_of_the_digest_asked_for_is_refused(engine, make_image, registry, login, proxy):
    tagged = unseen(make_image, registry, proxy)
    digest = hashlib.sha256(manifest(tagged, registry, login)).hexdigest()
    pinned = ImageReference.parse(tagged.pinned(f"sha256:{digest}"))
    proxy.fault = ("manifest", "reword")
    with pytest.raises(RegistryUnavailable, match=f"{digest}.*verification failed"):
        engine.images.pull(pinned, login=login)
    proxy.fault = ("", "")
    assert engine.images.pull(pinned, login=login).digest == f"sha256:{digest}"


class Elsewhere(ThreadingHTTPServer):
    """Has nothing, and writes down what it is asked with."""

    def __init__(self):
        super().__init__(("0.0.0.0", 0), _Elsewhere)
        # Another name for this machine: a login is for a host.
        self.url = f"http://localhost:{self.server_address[1]}"
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815  # as http.server wants it

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("subject", ["manifest", "layer"])
def test_who_is_sent_elsewhere_takes_no_login_along(engine, make_image, registry, login, proxy, subject):
    reference = unseen(make_image, registry, proxy)
    with Elsewhere() as elsewhere:
        proxy.fault = (subject, elsewhere.url)
        with pytest.raises((ImageNotFound, RegistryUnavailable), match=str(reference)):
            engine.images.pull(reference, login=login, stall_timeout=STALL)
        assert elsewhere.asked
        assert {authorization for _, authorization in elsewhere.asked} == {None}
        elsewhere.shutdown()


def manifest(reference, registry, login):
    request = urllib.request.Request(
        f"http://{registry}/v2/{reference.repository}/manifests/{reference.version}",
        headers={"Accept": MANIFEST, "Authorization": basic(login)},
    )
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.mark.parametrize("part", ["forbidden", "access-denied", "unauthorized", "toomanyrequests", "401", "429"])
def test_a_name_that_sounds_like_a_cause_is_none(engine, make_image, registry, login, proxy, part):
    """The engine's texts hold the image's name: `manifest for …/denied:429 not found`."""
    absent = ImageReference.parse(f"{registry}/{part}/{part}:{part}")
    with pytest.raises(ImageNotFound, match=f"{part}:{part}"):
        engine.images.pull(absent, login=login)
    failing = ImageReference.parse(f"{proxy.host}/{part}/{part}:{part}")
    proxy.fault = ("manifest", "503")
    with pytest.raises(RegistryUnavailable, match="can be reached"):
        engine.images.pull(failing, login=login)


def test_a_port_that_looks_like_a_status_is_none(engine):
    with pytest.raises(RegistryUnavailable, match="refused"):
        engine.images.pull(ImageReference.parse("127.0.0.1:403/acme/shop:v1"))


def test_without_a_fault_the_proxy_is_no_obstacle(engine, make_image, registry, login, proxy):
    assert engine.images.pull(unseen(make_image, registry, proxy), login=login).downloaded


def test_what_the_engine_says_after_its_own_retries_is_the_registrys_fault(engine, make_image, registry, login, proxy):
    """The one test that waits for all of them: five, 75 seconds."""
    reference = unseen(make_image, registry, proxy)
    proxy.fault = ("layer", "503")
    with pytest.raises(RegistryUnavailable, match="503"):
        engine.images.pull(reference, login=login, stall_timeout=120)
