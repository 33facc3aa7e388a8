"""Deployments of one image and one credential on one host make one pull, whatever becomes of who makes it."""

import os
import signal
import threading
from collections import Counter

import pytest
import redis
import requests
from celery import Celery

from tests.engine.registry_proxy import Handler, RegistryProxy
from tests.flow.conftest import Installation, Stage, page
from tests.services import remove_managed

AT_ONCE = 100
"""Half as many as `make bench B=pulls` has."""
LAYER = 2_000_000
_PIECE = LAYER // 80
"""An engine says how far it is for each hundredth."""
LOGIN, OTHERS_LOGIN = "proxied", "somebody-elses"


class GatedRegistry(RegistryProxy):
    """The real registry, whose layers trickle for 40 s unless it is `open`, and counts what it is asked for."""

    def __init__(self, upstream):
        super().__init__(upstream, _Gated)
        self.open = threading.Event()
        self.open.set()
        self.asked = Counter()

    def count(self, method, kind):
        return sum(times for (asked, path), times in self.asked.items() if asked == method and f"/{kind}/" in path)

    def layers(self):
        """How often each layer was fetched: of those that are held back, as the manifests' configs are small."""
        return [times for (kind, _), times in self.asked.items() if kind == "layer"]


class _Gated(Handler):
    def reply(self, status, headers, body):
        self.server.asked[self.command, self.path] += 1
        if self.command != "GET" or len(body) < LAYER:
            super().reply(status, headers, body)
            return
        self.server.asked["layer", self.path] += 1
        super().reply(status, headers, body[:_PIECE])
        sent = _PIECE
        while not self.server.open.wait(0.5):
            self.wfile.write(body[sent : sent + _PIECE])
            sent += _PIECE
        self.wfile.write(body[sent:])


class Host:
    """An installation whose images come by way of a registry that can be held up."""

    def __init__(self, installation, client, engine, registry, images):
        self.installation, self.client, self.engine, self.registry = installation, client, engine, registry
        self._images = images
        self.made = []

    def publish(self, tag="v1", repository=None, **options):
        """Push an image like no other, have the engine forget it, and say what it is called here."""
        repository = repository or f"shared-{os.urandom(4).hex()}"
        reference = self._images(repository, tag, **{"healthcheck": None, "layers": [LAYER], **options})
        self.engine.remove_image(reference, force=True)
        return reference.replace(self.installation.registry, self.registry.host)

    def stages(self, count):
        stages = [Stage(self.client, self.engine, self.installation) for _ in range(count)]
        self.made += stages
        return stages

    def digest(self, image):
        """What the registry has under this name."""
        url = f"http://{self.registry.upstream}/v2/{image.partition('/')[2].replace(':', '/manifests/')}"
        login, kind = (self.installation.username, self.installation.password), "docker.distribution.manifest.v2+json"
        answer = requests.head(url, auth=login, headers={"Accept": f"application/vnd.{kind}"}, timeout=10)
        return answer.headers["Docker-Content-Digest"]

    def deploy(self, image, count=1, **arguments):
        """Send so many deployments, each to a stage of its own."""
        arguments = {"credential": LOGIN, "policy": "always", **arguments}
        return [each.send("docker.deploy", **each.deployment(image, **arguments)) for each in self.stages(count)]

    def record(self, sent):
        return self.made[0].record(sent.id)

    def until(self, condition, seconds=30):
        return self.made[0].until(condition, seconds)

    def waiting(self):
        """The ids of those that wait for somebody else's pull."""
        with redis.Redis.from_url(self.installation.redis_url, decode_responses=True) as connection:
            keys = connection.scan_iter(f"dw:{self.installation.namespace}:pullers:*")
            return {each for key in keys for each in connection.smembers(key)}

    def until_shared(self, sent):
        """Await that one of these deployments pulls, and the others wait for it; say which one pulls."""
        ids = {each.id for each in sent}
        # On a busy machine some hundred take their time to be taken on.
        self.until(lambda: len(self.waiting() & ids) == len(ids) - 1, 120)
        (leader,) = ids - self.waiting()
        self.until(lambda: "holder" in self.made[0].record(leader) and self.registry.layers())
        return next(each for each in sent if each.id == leader)


@pytest.fixture(scope="module")
def another(second_redis_url, tmp_path_factory, engine, images, installation):
    """An installation of its own, in whose database nobody else waits for anything."""
    another = Installation(second_redis_url, tmp_path_factory.mktemp("logs"), namespace=installation.namespace)
    another.environment |= {"DW_STABLE_SECONDS": "0", "DW_RECONCILE_SECONDS": "3600", "DW_CONCURRENCY": "4"}
    # The registry is kept shut until all that are to wait do, and on a busy machine the one that pulls is to keep its
    # lease until then.
    another.environment |= {"DW_PULL_STALL_TIMEOUT": "120", "DW_LEASE_SECONDS": "5"}
    registry = GatedRegistry(another.registry)
    for name, password in ((LOGIN, another.password), (OTHERS_LOGIN, "not the password")):
        added = another.dw(
            *("credential", "add", name, "--registry", registry.host),
            *("--username", another.username, "--password-stdin"),
            input=password,
        )
        assert added.returncode == 0, added.stderr
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    yield Host(another, client, engine, registry, images)
    client.close()
    registry.close()
    remove_managed(engine, another.namespace)


@pytest.fixture(scope="module")
def _worker(another):
    with another.installation.worker(another.client) as process:
        yield process


@pytest.fixture
def host(another):
    another.registry.asked.clear()
    another.registry.open.clear()
    yield another
    another.registry.open.set()
    another.registry.fault = ("", "")
    for each in another.made:
        each.clear()
    another.made.clear()


def ended(sent, seconds=90):
    """What came of these deployments: results, or errors."""
    return [each.get(timeout=seconds, propagate=False) for each in sent]


def kinds(outcomes):
    return Counter(each["state"] if isinstance(each, dict) else type(each).__name__ for each in outcomes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_one_pulls_where_the_worker_of_the_first_ends(host, number):
    """Before those with a worker of their own, as there must be no third one."""
    image = host.publish()
    with host.installation.worker(host.client) as one, host.installation.worker(host.client) as two:
        sent = host.deploy(image, 6)
        leader = host.until_shared(sent)
        pid = int(host.record(leader)["holder"].split("/")[1])
        ending = next(each for each in (one, two) if each.pid == pid)
        ending.send_signal(number)
        ending.wait()
        host.until(lambda: max(host.registry.layers()) == 2)
        host.registry.open.set()
        assert kinds(ended(sent)) == {"live": 6}
        assert max(host.registry.layers()) == 2


@pytest.mark.usefixtures("_worker")
def test_a_hundred_at_once_are_one_pull(host, record_property):
    image = host.publish()
    # What ends after the pull costs the engine little: this is about the registry.
    sent = host.deploy(image, AT_ONCE, network="nowhere")
    host.until_shared(sent)
    host.registry.open.set()
    assert kinds(ended(sent)) == {"NetworkNotFound": AT_ONCE}
    asked = {
        f"{method} {kind}": host.registry.count(method, kind)
        for method in ("GET", "HEAD")
        for kind in ("manifests", "blobs")
    }
    record_property("figure", f"{AT_ONCE} deployments of one image at once: {asked}")
    assert host.registry.layers()
    assert set(host.registry.layers()) == {1}
    assert asked["GET manifests"] == 1
    assert asked["HEAD manifests"] <= 2


@pytest.mark.usefixtures("_worker")
def test_those_that_wait_see_how_far_it_is_and_hold_nobody_up(host):
    sent = host.deploy(host.publish(), 8)
    leader = host.until_shared(sent)

    def is_told(each, total):
        told = each.backend.get_task_meta(each.id)["result"]
        return told.get("step") == "pull" and told.get("total") == total and 0 < told["current"] < total

    total = host.until(lambda: (leader.info or {}).get("total"))
    host.until(lambda: all(is_told(each, total) for each in sent))
    # Twice as many wait as a worker has slots for pulls, and another image comes by them.
    other = host.deploy(host.publish(layers=[]))
    assert kinds(ended(other)) == {"live": 1}
    host.registry.open.set()
    assert kinds(ended(sent)) == {"live": 8}


@pytest.mark.usefixtures("_worker")
def test_a_tag_that_moves_while_it_is_pulled_is_the_new_one_to_whoever_asks_then(host):
    image = host.publish()
    first = host.deploy(image, 2)
    host.until_shared(first)
    repository = image.rpartition("/")[2].rpartition(":")[0]
    host.publish(tag="v1", repository=repository, page="the new one")
    later = host.deploy(image, 3)
    host.until(lambda: {each.id for each in later} <= host.waiting())
    host.registry.open.set()
    assert {page(each) for each in ended(later)} == {"the new one"}
    assert kinds(ended(first)) == {"live": 2}
    assert set(host.registry.layers()) == {1}


@pytest.mark.usefixtures("_worker")
def test_what_is_named_by_its_digest_is_shared_by_all_however_late(host):
    image = host.publish()
    name = image.rpartition(":")[0]
    digest = host.digest(image)
    first = host.deploy(f"{name}@{digest}", 2)
    host.until_shared(first)
    later = host.deploy(f"{name}@{digest}", 2)
    host.until(lambda: {each.id for each in later} <= host.waiting())
    host.registry.asked.clear()
    host.registry.open.set()
    assert kinds(ended([*first, *later])) == {"live": 4}
    assert host.registry.count("GET", "manifests") + host.registry.count("HEAD", "manifests") == 0


@pytest.mark.usefixtures("_worker")
def test_one_that_waits_and_is_cancelled_or_out_of_time_ends_and_the_pull_goes_on(host):
    image = host.publish()
    sent = host.deploy(image, 3)
    leader = host.until_shared(sent)
    hurried = host.deploy(image, timeout=2)
    (cancelled, waiting) = (each for each in sent if each is not leader)
    host.made[0].ask("docker.cancel", deployment_id=cancelled.id)
    assert kinds(ended([cancelled, *hurried])) == {"DeploymentCancelled": 1, "DeadlineExceeded": 1}
    assert not host.registry.open.is_set()
    host.registry.open.set()
    assert kinds(ended([leader, waiting])) == {"live": 2}
    assert set(host.registry.layers()) == {1}


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize("reason", ["cancelled", "out of time"])
def test_the_next_one_pulls_where_the_first_ends_for_a_reason_of_its_own(host, reason):
    image = host.publish()
    first = host.deploy(image, timeout=4 if reason == "out of time" else None)
    host.until(host.registry.layers)
    others = host.deploy(image, 3)
    host.until(lambda: {each.id for each in others} <= host.waiting())
    if reason == "cancelled":
        host.made[0].ask("docker.cancel", deployment_id=first[0].id)
    expected = "DeploymentCancelled" if reason == "cancelled" else "DeadlineExceeded"
    assert kinds(ended(first)) == {expected: 1}
    host.until_shared(others)
    host.registry.open.set()
    assert kinds(ended(others)) == {"live": 3}


@pytest.mark.usefixtures("_worker")
def test_an_image_that_is_not_there_is_missed_by_each(host):
    image = host.publish()
    host.registry.open.set()
    sent = host.deploy(image.replace(":v1", ":none"), 20)
    errors = ended(sent)
    assert kinds(errors) == {"ImageNotFound": 20}
    assert all(":none" in each.args[0] and each.args[1]["step"] == "pull" for each in errors)


@pytest.mark.usefixtures("_worker")
def test_a_registry_that_fails_for_a_while_is_asked_again_by_one_for_all(host, record_property):
    image = host.publish()
    host.registry.fault = ("manifest", "503")
    sent = host.deploy(image, 20)
    host.until(lambda: all("troubled" in host.record(each) for each in sent))
    during = host.registry.count("GET", "manifests") + host.registry.count("HEAD", "manifests")
    host.registry.fault = ("", "")
    host.registry.open.set()
    assert kinds(ended(sent)) == {"live": 20}
    record_property("figure", f"20 deployments whose registry fails at first: {during} requests until each has heard")
    assert during < 20


@pytest.mark.usefixtures("_worker")
def test_an_image_is_never_brought_by_the_rights_of_another_credential(host):
    image = host.publish()
    sent = host.deploy(image, 2)
    host.until_shared(sent)
    others = host.deploy(image, 2, credential=OTHERS_LOGIN)
    assert kinds(ended(others)) == {"PullDenied": 2}
    host.registry.open.set()
    assert kinds(ended(sent)) == {"live": 2}
    assert kinds(ended(host.deploy(image, credential=OTHERS_LOGIN))) == {"PullDenied": 1}


@pytest.mark.usefixtures("_worker")
def test_a_redis_that_has_lost_all_costs_those_that_waited_and_no_later_one(host):
    image = host.publish()
    sent = host.deploy(image, 3)
    host.until_shared(sent)
    with redis.Redis.from_url(host.installation.redis_url) as connection:
        kept = connection.hgetall(f"dw:{host.installation.namespace}:credentials")
        connection.flushdb()
        connection.hset(f"dw:{host.installation.namespace}:credentials", mapping=kept)
    later = host.deploy(image, 2)
    host.until(lambda: host.waiting() & {each.id for each in later})
    host.registry.open.set()
    assert kinds(ended(later)) == {"live": 2}
