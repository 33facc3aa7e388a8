"""Who leads a pull, who waits for it, and who takes what came of it; on a real Redis, and on the simulation's."""

import pytest

from worker.errors import EngineUnavailable, ImageNotFound, RegistryUnavailable
from worker.record import Found, Step
from worker.reference import ImageReference
from worker.settings import Settings
from worker.spec import DeploymentSpec, parse
from worker.store import Brought, Committed, Credential, Deployments, Due, Led, Pulls

LEASE = 0.3
IMAGE = ImageReference.parse("acme/shop:1")
V1, V2 = Brought("sha256:1", downloaded=True), Brought("sha256:2", downloaded=True)


class Host:
    """Deployments of one image, each of a stage of its own, and the pulls that they share."""

    def __init__(self, connection, prefix):
        self.records = Deployments(connection, prefix, Settings(lease_seconds=LEASE))
        self._pulls = Pulls(connection, prefix, "local")

    def accept(self, *deployments):
        for each in deployments:
            asked = {"project": each, "stage": "live", "image": str(IMAGE)}
            self.records.accept(each, parse(DeploymentSpec, "docker.deploy", asked))

    def claim(self, deployment):
        """Claim its pull, once it is due."""
        while (claim := self.records.claim(deployment, Step.PULL)) is None:
            pass
        return claim

    def asked(self, deployment):
        """Accept a deployment and claim its pull."""
        self.accept(deployment)
        return self.claim(deployment)

    def join(self, claim, *, reference=IMAGE, credential=None, moves=True, anew=False):
        return self._pulls.join(claim, reference, credential, moves=moves, anew=anew)

    def wait(self, claim):
        return self.records.wait(claim, 60, Found())

    def settle(self, claim, outcome, credential=None):
        self._pulls.settle(claim, IMAGE, credential, outcome)

    def due(self):
        """Those that the driver sends now."""
        return {each.id for each in self.records.ring().steps}


@pytest.fixture
def host(connection, prefix):
    yield Host(connection, prefix)
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


def test_one_leads_and_the_others_that_were_asked_for_before_take_what_it_brings(host):
    host.accept("a", "b", "c")
    a, b, c = map(host.claim, "abc")
    assert host.join(a) is None
    assert host.join(b) == Led("a", 1)
    assert host.join(c) == Led("a", 2)
    host.settle(a, V1)
    assert host.join(b) == V1
    assert host.join(c) == V1


def test_those_that_wait_are_due_at_once_when_it_has_ended(host):
    host.accept("a", "b", "c")
    a, b, c = map(host.claim, "abc")
    host.join(a)
    host.join(b)
    assert host.wait(b) is Committed.COMMITTED
    # Not to be missed by one that is just about to wait.
    host.join(c)
    assert host.due() == set()
    host.settle(a, V1)
    assert host.due() == {"b"}
    host.wait(c)
    assert host.due() == {"c"}
    assert host.join(host.claim("c")) == V1


def test_who_was_asked_for_since_it_began_waits_and_then_one_leads_for_all_of_them(host):
    a = host.asked("a")
    host.join(a)
    host.accept("b", "c")
    b, c = map(host.claim, "bc")
    assert host.join(b) == Led("a", 1)
    host.settle(a, V1)
    assert host.join(b) is None
    assert host.join(c) == Led("b", 1)
    host.settle(b, V2)
    assert host.join(c) == V2


def test_one_that_waited_for_its_stage_meanwhile_takes_what_was_begun_after_it_was_asked_for(host):
    host.accept("late", "a")
    a = host.claim("a")
    host.join(a)
    host.settle(a, V1)
    b = host.asked("b")
    host.join(b)
    # Another one being at it is no reason to wait.
    assert host.join(host.claim("late")) == V1


def test_what_cannot_be_out_of_date_is_taken_by_all(host):
    a = host.asked("a")
    host.join(a)
    b = host.asked("b")
    host.settle(a, V1)
    assert host.join(b, moves=False) == V1
    assert host.join(b, moves=False, anew=True) is None


def test_an_error_is_of_those_that_were_asked_for_before(host):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    host.join(a)
    late = host.asked("late")
    host.settle(a, ImageNotFound("There is no such image.", {"image": "acme/shop:1"}))
    with pytest.raises(ImageNotFound, match="no such image"):
        host.join(b)
    assert host.join(late, moves=False) is None


def test_an_error_that_a_retry_may_help_against_is_heard_once_by_each(host):
    host.accept("a", "b", "c")
    a, b, c = map(host.claim, "abc")
    host.join(a)
    trouble = RegistryUnavailable("The registry is away.")
    host.settle(a, trouble)
    for each in (b, c):
        with pytest.raises(RegistryUnavailable):
            host.join(each)
    for each in (a, b, c):
        host.records.retry(each, 0, trouble)
    a, b, c = map(host.claim, "abc")
    assert host.join(b) is None
    assert host.join(a) == Led("b", 1)
    host.settle(b, trouble)
    for each in (a, c):
        with pytest.raises(RegistryUnavailable):
            host.join(each)


def test_the_next_one_leads_where_the_leader_has_ended_for_a_reason_of_its_own(host):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    host.join(a)
    host.join(b)
    host.wait(b)
    host.settle(a, None)
    assert host.due() == {"b"}
    assert host.join(host.claim("b")) is None


def test_the_next_one_leads_where_the_leader_is_lost_and_the_lost_one_settles_nothing(host):
    host.accept("a", "b", "c")
    a = host.claim("a")
    host.join(a)
    again = host.claim("a")
    b, c = map(host.claim, "bc")
    assert host.join(b) is None
    assert host.join(again) == Led("b", 1)
    host.settle(a, V1)
    assert host.join(c) == Led("b", 2)
    host.settle(b, V2)
    assert host.join(c) == V2


def test_a_leader_that_has_its_lease_renewed_goes_on_leading(host):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    began = a.now
    host.join(a)
    while b.now < began + 2 * LEASE:
        assert host.records.renew(a)
        assert host.join(b) == Led("a", 1)
        host.records.wait(b, 0, Found())
        b = host.claim("b")


def test_nothing_is_shared_between_credentials_nor_between_contents_of_one(host):
    host.accept("a", "b", "c", "d")
    one = Credential("hub", "docker.io", "deployer", "sealed")
    another = Credential("hub", "docker.io", "deployer", "sealed anew")
    a, b, c, d = map(host.claim, "abcd")
    assert host.join(a, credential=one) is None
    assert host.join(b, credential=another) is None
    assert host.join(c) is None
    host.settle(a, V1, one)
    assert host.join(d, credential=one) == V1
    assert host.join(d, credential=another) == Led("b", 1)


def test_other_images_are_other_pulls(host):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    assert host.join(a) is None
    assert host.join(b, reference=ImageReference.parse("acme/shop:2")) is None


def test_one_that_waits_and_is_cancelled_is_due_at_once(host):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    host.join(a)
    host.join(b)
    host.wait(b)
    assert host.records.cancel("b").due == Due("b", Step.PULL, "local")
    host.records.advance(host.claim("b"), Step.REPORT, Found(), EngineUnavailable("It ends."))
    # It is still among those that wait, and no longer in that step.
    host.settle(a, V1)
    assert host.due() == set()


def test_without_records_there_is_nothing_to_wait_for(host, connection, prefix):
    host.accept("a", "b")
    a, b = map(host.claim, "ab")
    host.join(a)
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)
    assert host.join(b) is None
    host.settle(a, V1)
    assert host.join(a) is None
