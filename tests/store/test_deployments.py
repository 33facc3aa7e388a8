"""Records: who may do what, and when; on a real Redis, and on the one of the simulation, which must answer the same."""

import json

import pytest

from worker.errors import DeploymentCancelled, EngineUnavailable
from worker.record import Break, Found, Step, Version
from worker.settings import Settings
from worker.spec import DeploymentSpec, StageOrder, parse
from worker.store import Committed, Deployments, Due
from worker.store.deployments import Mended, NeededImages, Workload

LEASE = 0.3
TROUBLE = EngineUnavailable("The engine is away.", {"step": "pull"})


@pytest.fixture
def records(connection, prefix):
    yield Deployments(connection, prefix, Settings(lease_seconds=LEASE))
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


def spec(project="shop", **arguments):
    return parse(
        DeploymentSpec, "docker.deploy", {"project": project, "stage": "live", "image": "acme/shop:1", **arguments}
    )


def order(action, **arguments):
    return parse(StageOrder, "docker.stage", {"project": "shop", "stage": "live", "action": action, **arguments})


def claimed_later(records, deployment_id, step):
    """Claim a step once it is due, which it is by Redis' clock and nobody else's."""
    while (claim := records.claim(deployment_id, step)) is None:
        pass
    return claim


def test_an_accepted_deployment_can_be_claimed_once(records):
    assert records.accept("a", spec()).due == Due("a", Step.PULL, "local")
    claim = records.claim("a", Step.PULL)
    assert (claim.attempt, claim.spec, claim.found) == (1, spec(), Found())
    assert records.claim("a", Step.PULL) is None


def test_accepting_twice_changes_nothing(records):
    records.accept("a", spec())
    records.claim("a", Step.PULL)
    assert records.accept("a", spec()).due is None
    assert records.claim("a", Step.PULL) is None


def test_the_first_step_is_told_again_while_nobody_has_begun_it(records):
    records.accept("a", spec())
    assert records.accept("a", spec()).due == Due("a", Step.PULL, "local")


def test_only_the_step_that_is_due_can_be_claimed(records):
    records.accept("a", spec())
    assert records.claim("a", Step.CREATE) is None
    assert records.claim("unheard-of", Step.PULL) is None


def test_what_was_found_goes_on_to_the_next_step(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    assert records.advance(claim, Step.INSPECT, Found(image_id="sha256:1")) is Committed.COMMITTED
    assert records.claim("a", Step.PULL) is None
    assert records.claim("a", Step.INSPECT).found.image_id == "sha256:1"


def test_a_lease_that_is_not_renewed_ends_and_its_holder_can_commit_no_more(records):
    records.accept("a", spec())
    late = records.claim("a", Step.PULL)
    later = claimed_later(records, "a", Step.PULL)
    assert later.attempt == 2
    assert not records.renew(late)
    assert records.advance(late, Step.INSPECT, Found(image_id="late")) is Committed.LOST
    assert records.retry(late, 0, TROUBLE) is Committed.LOST
    assert records.release(late) is Committed.LOST
    records.close(late)
    assert records.advance(later, Step.INSPECT, Found(image_id="later")) is Committed.COMMITTED
    assert records.claim("a", Step.INSPECT).found.image_id == "later"


def test_a_renewed_lease_goes_on(records, connection):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    began, now = claim.now, claim.now
    while now < began + 3 * LEASE:
        assert records.renew(claim)
        assert records.claim("a", Step.PULL) is None
        seconds, micros = connection.time()
        now = seconds + micros / 1e6
    assert records.advance(claim, Step.INSPECT, Found()) is Committed.COMMITTED


def test_a_claim_that_has_ended_can_be_renewed_no_more(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    records.advance(claim, Step.INSPECT, Found())
    assert not records.renew(claim)
    last = records.claim("a", Step.INSPECT)
    records.close(last)
    assert not records.renew(last)
    assert records.ring().until_next is None


def test_a_retry_is_due_later_and_counts_and_a_wait_does_not(records):
    records.accept("a", spec())
    records.retry(records.claim("a", Step.PULL), 0.1, TROUBLE)
    assert records.claim("a", Step.PULL) is None
    again = claimed_later(records, "a", Step.PULL)
    assert again.attempt == 2
    assert again.trouble.args == TROUBLE.args
    records.wait(again, 0.1, again.found)
    waited = claimed_later(records, "a", Step.PULL)
    assert waited.attempt == 1
    records.release(waited)
    assert records.claim("a", Step.PULL).attempt == 1


def test_an_error_is_carried_to_the_report(records):
    records.accept("a", spec())
    records.advance(records.claim("a", Step.PULL), Step.REPORT, Found(), TROUBLE)
    carried = records.claim("a", Step.REPORT).error
    assert (type(carried), carried.args) == (EngineUnavailable, TROUBLE.args)


def test_alarms_ring_for_what_nobody_sends(records):
    records.accept("a", spec())
    assert records.ring().steps == []
    while not (steps := records.ring().steps):
        pass
    assert steps == [Due("a", Step.PULL, "local")]
    assert records.ring().steps == []
    assert records.ring().until_next <= LEASE


def test_a_stage_has_one_running_and_one_waiting_and_the_newest_waits(records):
    assert records.accept("a", spec()).due == Due("a", Step.PULL, "local")
    assert records.accept("other", spec("other")).due == Due("other", Step.PULL, "local")
    assert records.accept("b", spec()).due is None
    assert records.accept("c", spec()).due == Due("b", Step.REPORT, "local")
    assert type(records.standings(["b"])["b"].error).__name__ == "DeploymentSuperseded"
    superseded = records.claim("b", Step.REPORT)
    assert type(superseded.error).__name__ == "DeploymentSuperseded"
    assert superseded.error.facts["by"] == "c"
    assert records.close(superseded).due is None
    assert records.claim("c", Step.PULL) is None
    assert records.close(records.claim("a", Step.PULL)).due == Due("c", Step.PULL, "local")
    assert records.claim("c", Step.PULL) is not None
    assert records.close(records.claim("other", Step.PULL)).due is None


def test_one_that_waits_is_due_at_its_deadline(records):
    records.accept("a", spec())
    records.accept("b", spec(timeout=0.2))
    late = claimed_later(records, "b", Step.EXPIRE)
    assert late.time_left <= 0
    records.advance(late, Step.REPORT, Found(), EngineUnavailable("Late."))
    records.close(records.claim("b", Step.REPORT))
    # Nobody waits any more.
    assert records.close(records.claim("a", Step.PULL)).due is None
    assert records.accept("d", spec()).due == Due("d", Step.PULL, "local")


def test_another_host_is_told_of_its_own_and_takes_no_others(connection, prefix, records):
    there = Deployments(connection, prefix, Settings(lease_seconds=LEASE, host="there"))
    records.accept("a", spec())
    assert there.claim("a", Step.PULL) is None
    assert there.accept("b", spec(host="there")).due is None
    # Who takes its place reports it: its own host may be away.
    assert records.accept("c", spec(host="local")).due == Due("b", Step.REPORT, "local")
    assert records.claim("b", Step.REPORT)
    there.accept("d", spec(host="there"))
    assert records.close(records.claim("a", Step.PULL)).due == Due("d", Step.PULL, "there")
    assert records.claim("d", Step.PULL) is None
    assert there.claim("d", Step.PULL) is not None


def test_what_was_accepted_is_read_back_by_an_older_version(records, connection, prefix):
    records.accept("a", spec(labels={"team": "x"}))
    key = f"{prefix}deployment:a"
    stored = json.loads(connection.hget(key, "spec"))
    connection.hset(key, "spec", json.dumps({**stored, "of_the_future": 1, "host": "elsewhere"}))
    assert records.claim("a", Step.PULL).spec.labels == {"team": "x"}


def test_an_alarm_of_a_step_of_a_newer_version_is_left_to_its_workers(records, connection, prefix):
    records.accept("a", spec())
    connection.hset(f"{prefix}deployment:a", "step", "of-the-future")
    connection.zadd(f"{prefix}alarms:local", {"a": 0})
    assert records.ring().steps == []


def test_an_ended_deployment_leaves_a_record_and_nothing_else(records, connection, prefix):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    records.close(claim)
    assert connection.hget(f"{prefix}deployment:a", "step") == "ended"
    assert set(connection.hkeys(f"{prefix}stage:shop/live")) == {"live", "newest", "newest_order"}
    assert not connection.exists(f"{prefix}alarms:local")


def test_a_step_that_is_still_queued_is_sent_again_ever_more_rarely(records, connection, prefix):
    records.accept("a", spec())
    alarms = f"{prefix}alarms:local"
    pauses = []
    for _ in range(9):
        connection.zadd(alarms, {"a": 0})
        records.ring()
        pauses.append(round(records.ring().until_next / LEASE))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    records.claim("a", Step.PULL)
    connection.zadd(alarms, {"a": 0})
    records.ring()
    assert round(records.ring().until_next / LEASE) == 1


def test_the_last_one_whose_message_came_wins_whichever_is_accepted_first(records):
    for each in "abcd":
        records.receive(each)
    assert records.accept("c", spec()).due == Due("c", Step.PULL, "local")
    assert records.accept("a", spec()).due == Due("a", Step.REPORT, "local")
    assert records.claim("a", Step.REPORT).error.facts["by"] == "c"
    assert records.accept("d", spec()).due is None
    assert records.accept("b", spec()).due == Due("b", Step.REPORT, "local")
    assert records.claim("b", Step.REPORT).error.facts["by"] == "d"


def test_one_that_comes_again_after_a_newer_one_has_succeeded_is_superseded(records):
    # Its worker was killed before it was recorded, so its message is delivered again much later.
    records.receive("old")
    records.receive("new")
    records.accept("new", spec())
    records.close(records.claim("new", Step.PULL))
    records.receive("old")
    records.accept("old", spec())
    assert records.claim("old", Step.REPORT).error.facts["by"] == "new"


def test_one_that_comes_again_after_a_newer_one_has_failed_is_deployed(records):
    records.receive("old")
    records.receive("new")
    records.accept("new", spec())
    records.advance(records.claim("new", Step.PULL), Step.REPORT, Found(), TROUBLE)
    records.close(records.claim("new", Step.REPORT))
    assert records.accept("old", spec()).due == Due("old", Step.PULL, "local")


def superseded_by(records, deployment_id):
    """Claims its report."""
    return records.claim(deployment_id, Step.REPORT).error.facts["by"]


def carry_out(records, deployment_id, asked, error=None):
    """Accept what nothing keeps from beginning, and bring it to its end."""
    step = records.accept(deployment_id, asked).due.step
    records.advance(records.claim(deployment_id, step), Step.REPORT, Found(container_id="c"), error)
    return records.close(records.claim(deployment_id, Step.REPORT)).due


@pytest.mark.parametrize("action", ["stop", "restart", "remove"])
def test_an_order_has_its_stage_to_itself(records, action):
    assert records.accept("a", order(action, timeout=5)).due == Due("a", Step(action), "local")
    claim = records.claim("a", Step(action))
    assert claim.order == order(action, timeout=5)
    # The time that a container may take to stop is no deadline.
    assert claim.time_left > 60
    assert records.accept("b", spec()).due is None
    records.advance(claim, Step.REPORT, Found())
    assert records.standings(["a"])["a"].success == "done"
    assert records.close(records.claim("a", Step.REPORT)).due == Due("b", Step.PULL, "local")
    assert records.standings(["a"])["a"].outcome == "done"


def test_an_order_waits_for_a_deployment_and_takes_the_place_of_what_waits(records):
    records.accept("a", spec())
    records.accept("b", spec())
    assert records.accept("stop", order("stop")).due == Due("b", Step.REPORT, "local")
    assert superseded_by(records, "b") == "stop"
    assert records.close(records.claim("a", Step.PULL)).due == Due("stop", Step.STOP, "local")
    assert records.claim("stop", Step.STOP).order.action == "stop"


def test_a_deployment_takes_the_place_of_an_order_that_waits(records):
    records.accept("a", spec())
    records.accept("stop", order("stop"))
    assert records.accept("b", spec()).due == Due("stop", Step.REPORT, "local")
    superseded = records.claim("stop", Step.REPORT)
    assert superseded.error.message == "Stopping shop/live was superseded before it began: b takes its place."
    assert records.close(superseded).due is None
    assert records.close(records.claim("a", Step.PULL)).due == Due("b", Step.PULL, "local")


def test_a_restart_takes_the_place_of_no_deployment_that_waits(records):
    records.accept("a", spec())
    records.accept("b", spec())
    assert records.accept("restart", order("restart")).due == Due("restart", Step.REPORT, "local")
    assert superseded_by(records, "restart") == "b"
    assert records.close(records.claim("a", Step.PULL)).due == Due("b", Step.PULL, "local")


def test_a_restart_waits_for_a_deployment_that_runs_and_takes_the_place_of_another_order(records):
    records.accept("a", spec())
    records.accept("stop", order("stop"))
    assert records.accept("restart", order("restart")).due == Due("stop", Step.REPORT, "local")
    assert superseded_by(records, "stop") == "restart"
    assert records.close(records.claim("a", Step.PULL)).due == Due("restart", Step.RESTART, "local")


@pytest.mark.parametrize("action", ["stop", "remove"])
def test_a_deployment_that_comes_after_a_newer_stop_is_superseded(records, action):
    for each in ("a", "old", "newer"):
        records.receive(each)
    records.accept("a", spec())
    records.accept("newer", order(action))
    assert records.accept("old", spec()).due == Due("old", Step.REPORT, "local")
    records.close(records.claim("a", Step.PULL))
    records.advance(records.claim("newer", Step(action)), Step.REPORT, Found())
    records.close(records.claim("newer", Step.REPORT))
    records.receive("late")
    records.receive("newest")
    carry_out(records, "newest", order(action))
    assert records.accept("late", spec()).due == Due("late", Step.REPORT, "local")


def test_no_newer_restart_keeps_a_deployment_that_comes_late_from_being_done(records):
    for each in ("late", "later", "latest", "restart", "waiting restart"):
        records.receive(each)
    carry_out(records, "restart", order("restart"))
    assert records.accept("late", spec()).due == Due("late", Step.PULL, "local")
    assert records.accept("waiting restart", order("restart")).due is None
    assert records.accept("later", spec()).due == Due("waiting restart", Step.REPORT, "local")
    assert superseded_by(records, "waiting restart") == "later"
    assert records.accept("latest", spec()).due == Due("later", Step.REPORT, "local")


def test_a_stop_that_comes_after_a_newer_restart_is_superseded(records):
    for each in ("stop", "restart"):
        records.receive(each)
    carry_out(records, "restart", order("restart"))
    assert records.accept("stop", order("stop")).due == Due("stop", Step.REPORT, "local")
    assert superseded_by(records, "stop") == "restart"


def test_a_deployment_that_comes_after_a_newer_one_and_a_restart_of_that_is_superseded(records):
    for each in ("old", "new", "restart"):
        records.receive(each)
    carry_out(records, "new", spec())
    carry_out(records, "restart", order("restart"))
    assert records.accept("old", spec()).due == Due("old", Step.REPORT, "local")
    assert superseded_by(records, "old") == "new"


def test_only_a_removal_that_succeeds_leaves_a_stage_without_a_live_one(records, connection, prefix):
    carry_out(records, "live", spec())
    carry_out(records, "stop", order("stop"))
    carry_out(records, "restart", order("restart"))
    carry_out(records, "broken off", order("remove"), DeploymentCancelled("Enough."))
    assert connection.hget(f"{prefix}stage:shop/live", "live") == "live"
    carry_out(records, "remove", order("remove"))
    assert connection.hget(f"{prefix}stage:shop/live", "live") is None
    assert connection.lrange(f"{prefix}lives:shop/live", 0, -1) == ["live"]
    ended = ["remove", "broken off", "restart", "stop", "live"]
    assert connection.lrange(f"{prefix}history:shop/live", 0, -1) == ended


def test_a_step_that_is_to_go_on_can_be_claimed_again_at_once_and_be_cancelled_there(records):
    records.accept("a", order("stop"))
    claim = records.claim("a", Step.STOP)
    records.cancel("a")
    assert records.advance(claim, Step.STOP, Found(left={"c2": "two"})) is Committed.COMMITTED
    again = records.claim("a", Step.STOP)
    assert (again.found.left, again.attempt, again.broken_off) == ({"c2": "two"}, 1, Break.CANCELLED)


def test_an_order_that_waits_can_be_cancelled(records):
    records.accept("a", spec())
    records.accept("stop", order("stop"))
    assert records.cancel("stop").due == Due("stop", Step.EXPIRE, "local")
    assert records.claim("stop", Step.EXPIRE).broken_off is Break.CANCELLED


def test_a_stage_that_an_order_without_a_record_holds_goes_to_the_one_that_waits(records, connection, prefix):
    records.accept("stop", order("stop"))
    records.accept("restart", order("restart"))
    connection.delete(f"{prefix}deployment:stop")
    assert records.mend(["shop/live"]) == Mended(["stop"], [])
    assert records.ring().steps == [Due("restart", Step.RESTART, "local")]


def test_ports_are_noted_of_what_has_ended_and_once(records):
    assert not records.note_ports("a", {"8080/tcp": 1})
    records.accept("a", spec())
    assert not records.note_ports("a", {"8080/tcp": 1})
    claim = records.claim("a", Step.PULL)
    records.advance(claim, Step.REPORT, Found(container_id="c", ports={"8080/tcp": 1}))
    records.close(records.claim("a", Step.REPORT))
    assert not records.note_ports("a", {"8080/tcp": 1})
    assert records.note_ports("a", {"8080/tcp": 2})
    assert not records.note_ports("a", {"8080/tcp": 2})
    assert records.standings(["a"])["a"].container_id == "c"


def at_undo(records, deployment_id, displaced):
    records.accept(deployment_id, spec())
    claim = records.claim(deployment_id, Step.PULL)
    records.advance(claim, Step.UNDO, Found(displaced=displaced), TROUBLE)
    return records.claim(deployment_id, Step.UNDO)


def test_what_was_made_anew_is_noted_where_it_serves_and_where_it_made_room(records):
    records.accept("old", spec())
    records.advance(records.claim("old", Step.PULL), Step.REPORT, Found(container_id="c", ports={"8080/tcp": 1}))
    records.close(records.claim("old", Step.REPORT))
    claim = at_undo(records, "new", ["b", "c"])
    assert records.note_made_anew(claim, "old", "c", "d")
    assert claim.found.displaced == ["b", "d"]
    assert records.standings(["old"])["old"].container_id == "d"
    assert records.standings(["old"])["old"].ports == {"8080/tcp": 1}
    records.retry(claim, 0, TROUBLE)
    assert claimed_later(records, "new", Step.UNDO).found.displaced == ["b", "d"]


def test_what_was_made_anew_is_noted_of_one_without_a_record(records):
    claim = at_undo(records, "new", ["c"])
    assert records.note_made_anew(claim, "old", "c", "d")
    assert claim.found.displaced == ["d"]
    assert not records.is_known("old")


def test_who_has_lost_a_step_notes_nothing_of_what_it_made_anew(records):
    records.accept("old", spec())
    records.advance(records.claim("old", Step.PULL), Step.REPORT, Found(container_id="c"))
    records.close(records.claim("old", Step.REPORT))
    claim = at_undo(records, "new", ["c"])
    later = claimed_later(records, "new", Step.UNDO)
    assert not records.note_made_anew(claim, "old", "c", "d")
    assert (claim.found, records.standings(["old"])["old"].container_id) == (later.found, "c")


def test_a_cancelled_step_that_nobody_is_at_is_due_at_once(records):
    records.accept("a", spec())
    records.wait(records.claim("a", Step.PULL), 60, Found())
    cancelling = records.cancel("a")
    assert (cancelling.outcome, cancelling.due) == ("cancelling", Due("a", Step.PULL, "local"))
    assert records.claim("a", Step.PULL).broken_off is Break.CANCELLED


def test_a_cancelled_step_that_somebody_is_at_is_his_to_end(records):
    records.accept("a", spec())
    records.accept("b", spec("other"))
    claims = [records.claim("a", Step.PULL), records.claim("b", Step.PULL)]
    assert records.those_cancelled(claims) == []
    cancelling = records.cancel("a")
    assert (cancelling.outcome, cancelling.due) == ("cancelling", None)
    assert records.those_cancelled(claims) == claims[:1]
    # What it has done without noticing counts no more.
    assert records.advance(claims[0], Step.INSPECT, Found()) is Committed.CANCELLED
    assert records.advance(claims[0], Step.UNDO, Found(), DeploymentCancelled("Enough.")) is Committed.COMMITTED
    assert records.claim("a", Step.UNDO).broken_off is None


def test_a_pause_before_a_further_attempt_is_cut_short_by_a_cancel(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    records.cancel("a")
    assert records.retry(claim, 60, TROUBLE) is Committed.COMMITTED
    assert records.claim("a", Step.PULL).broken_off is Break.CANCELLED


def test_one_that_waits_for_its_stage_can_be_cancelled(records):
    records.accept("a", spec())
    records.accept("b", spec())
    assert records.cancel("b").due == Due("b", Step.EXPIRE, "local")
    assert records.claim("b", Step.EXPIRE).broken_off is Break.CANCELLED


def test_one_that_is_yet_to_come_can_be_cancelled(records):
    assert records.cancel("a").outcome == "unknown"
    records.accept("running", spec())
    records.accept("waiting", spec())
    assert records.accept("a", spec()).due == Due("a", Step.EXPIRE, "local")
    assert records.claim("a", Step.EXPIRE).broken_off is Break.CANCELLED
    assert records.close(records.claim("running", Step.PULL)).due == Due("waiting", Step.PULL, "local")


def test_what_is_past_its_proof_or_has_ended_is_not_cancelled(records):
    records.accept("a", spec())
    records.advance(records.claim("a", Step.PULL), Step.RETIRE, Found())
    assert records.cancel("a").outcome == "late"
    claim = records.claim("a", Step.RETIRE)
    assert records.advance(claim, Step.REPORT, Found()) is Committed.COMMITTED
    records.close(records.claim("a", Step.REPORT))
    assert records.cancel("a").outcome == "ended"
    assert records.standings(["a", "unheard-of"])["a"].outcome == "live"


def waits(records, deployment_id="a"):
    """Have a deployment wait for its container, for a minute."""
    records.accept(deployment_id, spec(deployment_id))
    records.advance(records.claim(deployment_id, Step.PULL), Step.PROVE, Found())
    records.wait(records.claim(deployment_id, Step.PROVE), 60, Found())


def test_one_that_waits_for_its_container_looks_at_it_once_it_hears_of_it(records):
    waits(records)
    assert records.claim("a", Step.PROVE) is None
    assert records.hear("a") == Due("a", Step.PROVE, "local")
    # Every worker of the host hears the same.
    assert records.hear("a") is None
    assert records.claim("a", Step.PROVE).attempt == 1


def test_what_one_heard_and_nobody_was_sent_is_sent_by_the_driver(records):
    waits(records)
    records.hear("a")
    assert records.ring().until_next <= LEASE
    while not (steps := records.ring().steps):
        pass
    assert steps == [Due("a", Step.PROVE, "local")]


def test_one_that_hears_of_its_container_while_it_looks_looks_again_at_once(records):
    waits(records)
    records.hear("a")
    claim = records.claim("a", Step.PROVE)
    assert records.hear("a") is None
    assert records.wait(claim, 60, Found()) is Committed.COMMITTED
    assert records.ring().steps == [Due("a", Step.PROVE, "local")]
    again = records.claim("a", Step.PROVE)
    # That was all that it had heard.
    records.wait(again, 60, Found())
    assert records.claim("a", Step.PROVE) is None
    assert records.ring().steps == []


def test_what_one_heard_is_no_reason_to_hurry_after_a_failure(records):
    waits(records)
    records.hear("a")
    claim = records.claim("a", Step.PROVE)
    records.hear("a")
    records.retry(claim, 60, TROUBLE)
    assert records.claim("a", Step.PROVE) is None


def test_what_a_dead_worker_heard_is_looked_at_by_the_next_in_any_case(records):
    waits(records)
    records.hear("a")
    records.claim("a", Step.PROVE)
    records.hear("a")
    later = claimed_later(records, "a", Step.PROVE)
    records.wait(later, 60, Found())
    assert records.claim("a", Step.PROVE) is None


def test_nothing_is_due_by_what_is_heard_of_others(records):
    assert records.hear("unheard-of") is None
    records.accept("a", spec())
    records.retry(records.claim("a", Step.PULL), 60, TROUBLE)
    assert records.hear("a") is None
    assert records.claim("a", Step.PULL) is None
    records.accept("ended", spec("other"))
    records.close(records.claim("ended", Step.PULL))
    assert records.hear("ended") is None


def test_a_deployment_of_another_host_is_sent_to_its_workers(connection, prefix, records):
    waits(Deployments(connection, prefix, Settings(lease_seconds=LEASE, host="there")))
    assert records.hear("a") == Due("a", Step.PROVE, "there")


def end(records, deployment_id, error=None, found=None):
    records.accept(deployment_id, spec())
    records.advance(records.claim(deployment_id, Step.PULL), Step.REPORT, found or Found(), error)
    records.close(records.claim(deployment_id, Step.REPORT))


def test_the_last_records_of_a_stage_stay_and_so_do_the_last_that_were_live(connection, prefix):
    records = Deployments(connection, prefix, Settings(history=2, lease_seconds=LEASE))
    for each in ("live-1", "live-2", "live-3"):
        end(records, each)
    for each in ("failed-1", "failed-2", "failed-3"):
        end(records, each, TROUBLE)
    every = ("live-1", "live-2", "live-3", "failed-1", "failed-2", "failed-3")
    stay = [each for each in every if connection.ttl(f"{prefix}deployment:{each}") == -1]
    assert stay == ["live-2", "live-3", "failed-2", "failed-3"]
    assert connection.ttl(f"{prefix}deployment:live-1") > 0
    assert records.standings(["failed-3"])["failed-3"].error.args == TROUBLE.args


def test_a_stage_whose_holder_has_no_record_goes_to_the_one_that_waits(records, connection, prefix):
    records.accept("a", spec())
    records.accept("b", spec())
    connection.delete(f"{prefix}deployment:a")
    assert records.stages() == ["shop/live"]
    assert records.mend(["shop/live"]) == Mended(["a"], [])
    assert records.mend(["shop/live"]) == Mended([], [])
    assert records.ring().steps == [Due("b", Step.PULL, "local")]
    assert records.claim("b", Step.PULL) is not None


def test_a_stage_whose_holder_has_no_record_does_not_keep_the_next_one_out(records, connection, prefix):
    records.accept("a", spec())
    connection.delete(f"{prefix}deployment:a")
    assert records.accept("b", spec()).due == Due("b", Step.PULL, "local")


def test_one_that_no_longer_waits_is_neither_superseded_nor_given_the_stage(records):
    records.accept("a", spec())
    records.accept("late", spec(timeout=0.1))
    records.advance(claimed_later(records, "late", Step.EXPIRE), Step.REPORT, Found(), TROUBLE)
    reporting = records.claim("late", Step.REPORT)
    assert records.accept("b", spec()).due is None
    assert records.close(records.claim("a", Step.PULL)).due == Due("b", Step.PULL, "local")
    assert records.close(reporting).due is None
    assert records.standings(["late"])["late"].error.args == TROUBLE.args
    assert records.claim("b", Step.PULL) is not None


def test_what_has_lost_its_alarm_is_driven_again(records, connection, prefix):
    records.accept("a", spec())
    records.accept("b", spec())
    connection.delete(f"{prefix}alarms:local")
    assert records.mend(["shop/live"]) == Mended([], ["a", "b"])
    assert records.ring().steps == [Due("a", Step.PULL, "local")]


def test_a_container_without_a_record_is_adopted_once_and_not_beside_one_as_new(records, connection, prefix):
    assert records.adopt("lost", spec(), Found(container_id="c1"), 1.0)
    assert not records.adopt("lost", spec(), Found(container_id="c1"), 1.0)
    assert not records.adopt("other", spec(), Found(container_id="c2"), 1.0)
    standing = records.standings(["lost"])["lost"]
    assert (standing.outcome, standing.container_id) == ("adopted", "c1")
    assert connection.hget(f"{prefix}stage:shop/live", "live") == "lost"


def test_the_version_before_is_adopted_too_at_its_place_unless_it_has_a_record(records, connection, prefix):
    before = Version(deployment_id="before", spec=spec(), image_id="sha256:1", digest="sha256:d1", created=1.0)
    assert records.adopt("lost", spec(), Found(image_id="sha256:2"), 2.0, before)
    assert [each.deployment_id for each in records.lives("shop/live")] == ["lost", "before"]
    assert records.lives("shop/live")[1] == before
    assert records.live("shop/live").deployment_id == "lost"
    connection.delete(f"{prefix}deployment:lost")
    assert records.live("shop/live") is None
    assert records.adopt("lost", spec(), Found(), 2.0, before.model_copy(update={"image_id": "sha256:x"}))
    assert {each.image_id for each in records.lives("shop/live") if each.deployment_id == "before"} == {"sha256:1"}


def test_a_newer_container_than_the_live_one_is_adopted_as_after_an_old_backup(records, connection, prefix):
    assert records.adopt("old", spec(), Found(container_id="c1"), 1.0)
    assert records.adopt("new", spec(), Found(container_id="c2"), 2.0)
    assert connection.hget(f"{prefix}stage:shop/live", "live") == "new"
    assert [each.deployment_id for each in records.lives("shop/live")] == ["new", "old"]


def test_a_rollback_knows_its_image_and_what_it_goes_back_to(records):
    end(records, "a", found=Found(image_id="sha256:1", digest="sha256:d1"))
    version = records.live("shop/live")
    records.accept("b", spec(), version)
    assert records.claim("b", Step.PULL).found == Found(image_id="sha256:1", digest="sha256:d1")
    assert [(each.deployment_id, each.rollback_to) for each in records.history("shop/live")] == [
        ("b", "a"),
        ("a", None),
    ]


def test_history_tells_what_became_of_each_newest_first(records):
    end(records, "replaced")
    end(records, "live", found=Found(seconds={"pull": 1.5}))
    end(records, "unchanged", found=Found(unchanged=True))
    end(records, "failed", TROUBLE)
    end(records, "cancelled", DeploymentCancelled("Enough.", {"step": "pull"}))
    for each in ("running", "superseded", "waiting"):
        records.accept(each, spec())
    under_way = {each.deployment_id: each.state for each in records.history("shop/live")}
    # It ends as superseded once that is reported.
    assert "superseded" not in under_way
    records.close(records.claim("superseded", Step.REPORT))
    found = records.history("shop/live")
    every = ["waiting", "superseded", "running", "cancelled", "failed", "unchanged", "live", "replaced"]
    assert [(each.deployment_id, each.state) for each in found] == [(each, each) for each in every]
    by_id = {each.deployment_id: each for each in found}
    assert by_id["superseded"].superseded_by == "waiting"
    assert by_id["failed"].error.args == TROUBLE.args
    assert by_id["live"].seconds == {"pull": 1.5}
    assert by_id["live"].ended >= by_id["live"].created
    assert (by_id["running"].step, by_id["running"].ended) == ("pull", None)


def test_a_host_is_reconciled_by_one_at_a_time(records):
    assert records.may_reconcile(60)
    assert not records.may_reconcile(60)


def test_an_alarm_without_a_record_is_dropped(records, connection, prefix):
    records.accept("a", spec())
    connection.delete(f"{prefix}deployment:a")
    connection.zadd(f"{prefix}alarms:local", {"a": 0})
    assert records.ring().steps == []
    assert not connection.exists(f"{prefix}alarms:local")


def test_one_that_changes_nothing_is_known_as_such_before_it_is_reported(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    records.advance(claim, Step.REPORT, Found(container_id="1", unchanged=True))
    standing = records.standings(["a"])["a"]
    assert (standing.outcome, standing.success) == (None, "unchanged")


def test_what_is_under_way_and_the_last_live_versions_need_their_images(records):
    """Of a row of deployments of one image, as by force, the image counts once."""
    for number, image_id in enumerate(["one", "two", "two", "three"]):
        records.accept(f"live{number}", spec())
        claim = records.claim(f"live{number}", Step.PULL)
        records.advance(claim, Step.REPORT, Found(image_id=image_id))
        records.close(records.claim(f"live{number}", Step.REPORT))
    assert records.needed_images(2) == NeededImages(frozenset({"two", "three"}), frozenset())
    assert records.needed_images(9).ids == {"one", "two", "three"}

    digest = f"sha256:{'5' * 64}"
    records.accept("running", spec(image="acme/shop:5"))
    records.advance(records.claim("running", Step.PULL), Step.INSPECT, Found(digest=digest))
    records.accept("waiting", spec(image="acme/shop:6"))
    repository = "docker.io/acme/shop"
    assert records.needed_images(2).names == {f"{repository}:5", f"{repository}@{digest}", f"{repository}:6"}
    found = Found(digest=digest, image_id="five")
    records.advance(records.claim("running", Step.INSPECT), Step.CREATE, found)
    assert records.needed_images(2).ids == {"two", "three", "five"}


def test_an_order_to_a_stage_needs_no_image(records):
    order = parse(StageOrder, "docker.stage", {"project": "shop", "stage": "live", "action": "stop"})
    records.accept("order", order)
    records.accept("waiting", order)
    assert records.needed_images(2) == NeededImages(frozenset(), frozenset())


def test_only_one_worker_ends_a_deployment(records):
    records.accept("a", spec())
    claim = records.claim("a", Step.PULL)
    assert records.close(claim).is_first
    assert not records.close(claim).is_first


def test_a_claim_tells_whether_it_is_the_first_and_how_long_it_waited(records):
    records.accept("a", spec())
    first = records.claim("a", Step.PULL)
    assert first.is_first
    assert first.waited < LEASE
    assert first.created <= first.since
    records.retry(first, 0.05, TROUBLE)
    second = claimed_later(records, "a", Step.PULL)
    assert not second.is_first
    assert second.was_due >= first.since + 0.05
    records.advance(second, Step.CREATE, Found())
    assert records.claim("a", Step.CREATE).is_first


def test_what_is_under_way_is_counted_and_what_has_ended_is_not(records):
    assert records.workload() == Workload(0, 0, 0, 0, 0)
    for each in ("a", "b"):
        records.accept(each, spec(timeout=0.01))
    records.accept("other", spec("other"))
    records.close(records.claim("other", Step.PULL))
    records.claim("a", Step.PULL)
    seen = records.workload()
    while not seen.overdue:
        seen = records.workload()
    assert (seen.running, seen.waiting) == (1, 1)
    # Since its deadline, when the one that waits should have been seen to.
    assert seen.oldest > seen.past_deadline >= seen.overdue
