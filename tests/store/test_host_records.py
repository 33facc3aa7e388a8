"""Hosts: which one gets a deployment, what becomes of one that is away, and what each has told of its containers."""

import pytest

from worker.errors import DeadlineExceeded
from worker.record import Found, Step
from worker.settings import Settings
from worker.spec import DeploymentSpec, StageOrder, parse
from worker.store import Announcement, Deployments, Due, Hosts, ToldContainer

AWAY = 0.3
"""Seconds without a word after which a host is."""
NAMES = ("one", "two")


class Place:
    """A host's workers, as far as Redis goes."""

    def __init__(self, connection, prefix, name):
        values = Settings(lease_seconds=AWAY, host=name)
        self.name = name
        self.records = Deployments(connection, prefix, values)
        self.hosts = Hosts(connection, prefix, values)

    def beat(self, containers=0, engine="20.10.24"):
        self.hosts.announce(Announcement(engine=engine, cpus=2, containers=containers, slots=8))

    def accept(self, deployment_id, stage="live", **arguments):
        return self.records.accept(deployment_id, spec(stage, **arguments))

    def finish(self, deployment_id):
        self.records.advance(self.records.claim(deployment_id, Step.PULL), Step.REPORT, Found(container_id="c"))
        self.records.close(self.records.claim(deployment_id, Step.REPORT))


@pytest.fixture
def places(connection, prefix):
    yield [Place(connection, prefix, name) for name in NAMES]
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


def spec(stage="live", **arguments):
    given = {"project": "shop", "stage": stage, "image": "acme/shop:1", **arguments}
    return parse(DeploymentSpec, "docker.deploy", given)


def container(number, stage="shop/live"):
    return ToldContainer(long_id(number), f"dw-{number}", stage, f'{{"number": {number}}}')


def long_id(number):
    return f"{number:x}".ljust(64, "0")


def until_away(place, other):
    """Await that a host has been silent for long enough, by Redis' clock."""
    while place.name not in other.hosts.away():
        pass


def test_a_stage_goes_to_the_host_that_has_the_least_to_do(places):
    one, two = places
    one.beat(containers=5)
    two.beat(containers=3)
    # Two processors each: what it was given counts at once.
    given = [one.accept(f"d{number}", f"stage-{number}").due.host for number in range(4)]
    assert sorted(given) == ["one", "two", "two", "two"]


def test_a_stage_stays_where_it_is(places):
    one, two = places
    one.beat(containers=9)
    two.beat()
    assert one.accept("a", host="one").due == Due("a", Step.PULL, "one")
    # While it is under way, and once it is live.
    assert two.accept("b").due is None
    one.finish("a")
    one.finish("b")
    assert two.records.home("shop/live") == "one"
    assert two.accept("c").due == Due("c", Step.PULL, "one")


def test_without_a_record_a_stage_stays_where_a_container_of_it_was_told_of(places):
    one, two = places
    one.beat(containers=9)
    two.beat()
    one.hosts.tell([container(1)])
    assert two.accept("a").due == Due("a", Step.PULL, "one")


def test_an_order_goes_where_the_stage_is(places):
    one, two = places
    two.accept("a", host="one")
    one.finish("a")
    order = parse(StageOrder, "docker.stage", {"project": "shop", "stage": "live", "action": "stop"})
    assert two.records.accept("b", order).due == Due("b", Step.STOP, "one")


def test_a_host_that_is_away_gets_nothing_new_and_what_is_meant_for_it_waits(places):
    one, two = places
    one.beat()
    until_away(one, two)
    two.beat(containers=100)
    assert two.accept("a").due.host == "two"
    accepted = two.accept("b", "other", host="one")
    assert (accepted.due.host, accepted.away) == ("one", "one")
    assert two.records.claim("b", Step.PULL) is None
    one.beat()
    assert one.accept("c", "third").due.host == "one"
    assert one.records.claim("b", Step.PULL)


def test_a_host_without_an_engine_gets_nothing_new(places):
    one, two = places
    one.beat(engine=None)
    two.beat(containers=100)
    assert one.accept("a").due.host == "two"


def test_a_drained_host_gets_nothing_new_until_that_is_ended(places):
    one, two = places
    one.accept("a", "old", host="one")
    one.finish("a")
    one.hosts.drain("one")
    one.beat()
    two.beat(containers=100)
    assert one.accept("b").due.host == "two"
    assert one.accept("c", "old").due.host == "two"
    two.hosts.end_drain("one")
    one.beat()
    assert one.accept("d", "new").due.host == "one"


def test_where_all_are_drained_nothing_is_recorded(places):
    (one, _) = places
    one.beat()
    one.hosts.drain("one")
    assert one.accept("a").is_nowhere
    assert not one.records.is_known("a")


def test_what_a_host_was_at_is_ended_by_another_one_only_while_it_is_away(places):
    one, two = places
    one.beat()
    one.accept("a", host="one", timeout=0.1)
    error = DeadlineExceeded("The host is away.", {})
    (claim,) = two.records.stranded("one")
    assert two.records.abandon(claim, "one", "two", Found(), error) is None
    until_away(one, two)
    assert two.records.abandon(claim, "one", "two", Found(displaced=["c"]), error) == Due("a", Step.REPORT, "two")
    assert one.records.claim("a", Step.PULL) is None
    report = two.records.claim("a", Step.REPORT)
    assert (report.host, report.error.message) == ("one", error.message)
    two.records.close(report)
    # The host is told what it has to start again.
    assert {each: standing.displaced for each, standing in one.records.abandoned().items()} == {"a": ["c"]}
    one.records.note_restored("a")
    assert one.records.abandoned() == {}


def test_a_step_that_went_on_is_not_ended_by_who_saw_it_before(places):
    one, two = places
    one.accept("a", host="one")
    (claim,) = two.records.stranded("one")
    one.records.advance(one.records.claim("a", Step.PULL), Step.INSPECT, Found())
    assert two.records.abandon(claim, "one", "two", Found(), None) is None


def test_a_step_can_be_another_hosts(places):
    one, two = places
    two.accept("a", host="two")
    found = Found(moves_from=["one"])
    two.records.advance(two.records.claim("a", Step.PULL), Step.VACATE, found, host="one")
    assert two.records.claim("a", Step.VACATE) is None
    claim = one.records.claim("a", Step.VACATE)
    assert claim.host == "two"
    one.records.advance(claim, Step.REPORT, Found(), host="two")
    assert one.records.claim("a", Step.REPORT) is None
    assert two.records.claim("a", Step.REPORT)


def test_a_stage_that_is_live_elsewhere_has_moved(places):
    one, two = places
    one.accept("a", host="one")
    one.finish("a")
    assert two.records.moved(["shop/live"]).keys() == {"shop/live"}
    assert one.records.moved(["shop/live", "shop/unknown"]) == {}
    # Who is at it decides where it will be.
    two.accept("b", host="two")
    assert two.records.moved(["shop/live"]) == {}


def test_a_stage_that_was_removed_is_not_that_of_a_host_which_has_an_older_version_of_it(places):
    one, two = places
    one.accept("a", host="one")
    one.finish("a")
    two.accept("b", host="two")
    two.finish("b")
    order = parse(StageOrder, "docker.stage", {"project": "shop", "stage": "live", "action": "remove"})
    two.records.accept("c", order)
    two.records.advance(two.records.claim("c", Step.REMOVE), Step.REPORT, Found())
    assert one.records.moved(["shop/live"]) == {}
    two.records.close(two.records.claim("c", Step.REPORT))
    assert one.records.moved(["shop/live"])["shop/live"].host is None
    assert two.records.moved(["shop/live"]) == {}
    assert not one.records.reclaim("a", "shop/live")
    assert one.records.live("shop/live") is None
    # Whoever is at it decides what it has.
    one.accept("d", host="one")
    assert one.records.moved(["shop/live"]) == {}
    one.finish("d")
    assert one.records.moved(["shop/live"]) == {}


def test_a_stage_that_is_live_nowhere_is_reclaimed_by_the_host_that_is_back(places):
    one, two = places
    one.accept("a", host="one")
    one.finish("a")
    two.records.disown("one")
    assert one.records.moved(["shop/live"]) == {}
    assert one.records.reclaim("a", "shop/live")
    assert two.records.home("shop/live") == "one"


def test_reconciling_looks_only_after_stages_that_are_here(places):
    one, two = places
    one.accept("a", host="one")
    one.finish("a")
    one.accept("b", "other", host="two")
    assert (one.records.stages(), two.records.stages()) == (["shop/live"], ["shop/other"])
    two.accept("c", host="two")
    two.finish("c")
    one.records.mend(["shop/live"])
    assert (one.records.stages(), two.records.stages()) == ([], ["shop/live", "shop/other"])


def test_what_is_told_again_replaces_what_was_told(places):
    one, two = places
    one.beat()
    two.beat()
    one.hosts.tell([container(1), container(2, "shop/other")])
    two.hosts.tell([container(3)])
    assert two.hosts.of_stage("shop/live") == {"one", "two"}
    assert two.hosts.stages(but="two") == ["shop/live", "shop/other"]
    assert [two.hosts.located(each) for each in ("dw-2", long_id(2), long_id(2)[:12], "/dw-3")] == [
        "one",
        "one",
        "one",
        "two",
    ]
    # Of one stage: what is told of the others stays.
    one.hosts.tell([], "shop/live")
    assert two.hosts.listed(["shop/live", "shop/other"]) == [("two", '{"number": 3}'), ("one", '{"number": 2}')]
    one.hosts.tell([])
    assert two.hosts.located("dw-2") is None
    assert two.hosts.of_stage("shop/other") == set()


def test_a_container_that_was_renamed_is_found_by_its_new_name_only(places):
    (one, _) = places
    one.hosts.tell([container(7)])
    one.hosts.tell([ToldContainer(long_id(7), "renamed", "shop/live", "{}")])
    assert (one.hosts.located("dw-7"), one.hosts.located("renamed")) == (None, "one")


def test_a_name_that_two_hosts_have_leads_to_the_one_that_has_it_still(places):
    one, two = places
    one.hosts.tell([ToldContainer(long_id(1), "dw-shop", "shop/live", "runs")])
    two.hosts.tell([ToldContainer(long_id(2), "dw-shop", "shop/live", "runs")])
    # As when a stage moves: the old one is stopped, and then removed.
    one.hosts.tell([ToldContainer(long_id(1), "dw-shop", "shop/live", "exited")], "shop/live")
    one.hosts.tell([], "shop/live")
    two.hosts.tell([ToldContainer(long_id(2), "dw-shop", "shop/live", "runs")], "shop/live")
    assert one.hosts.located("dw-shop") == "two"


def test_what_is_known_of_a_host_can_be_forgotten(places):
    one, two = places
    one.beat()
    one.hosts.tell([container(1)])
    two.beat()
    two.hosts.forget("one")
    assert [each.name for each in two.hosts.all()] == ["two"]
    assert two.hosts.of_stage("shop/live") == set()
    assert two.accept("a").due.host == "two"


def test_hosts_are_shown_with_what_they_have_to_do(places):
    one, two = places
    one.beat(containers=4)
    one.accept("a", host="one")
    (shown,) = two.hosts.all()
    assert (shown.name, shown.told.containers, shown.under_way, shown.is_away) == ("one", 4, 1, False)
    until_away(one, two)
    assert two.hosts.all()[0].is_away


def test_a_host_that_was_given_something_before_it_ever_announced_itself_can_be_away(places):
    one, two = places
    one.accept("a")
    until_away(one, two)
    assert two.hosts.away() == ["one"]
    # And one that goes on with another one's deployment.
    two.accept("b", "other", host="two")
    two.records.advance(two.records.claim("b", Step.PULL), Step.VACATE, Found(), host="gone")
    while "gone" not in two.hosts.away():
        pass


def test_stages_that_were_noted_before_there_were_several_hosts_are_taken_over(places, connection, prefix):
    one, two = places
    one.accept("a", host="one")
    one.finish("a")
    for each in (f"{prefix}stages:one", f"{prefix}stages"):
        connection.delete(each)
    connection.sadd(f"{prefix}stages", "shop/live", "shop/none")
    assert two.records.stages() == one.records.stages() == ["shop/live", "shop/none"]
    for place in (two, one):
        place.records.mend(place.records.stages())
    assert (one.records.stages(), two.records.stages()) == (["shop/live"], [])
