"""Several hosts: where a stage goes, how it moves, and what becomes of it while its host is away."""

import urllib.error
import urllib.request

import pytest
from celery import Celery

from tests.flow.conftest import Installation, until
from tests.flow.fleet import Placed, fleet_of

pytestmark = pytest.mark.needs_private_engine


@pytest.fixture(scope="module")
def fleet(second_redis_url, tmp_path_factory, images, installation, worker_id):
    another = Installation(second_redis_url, tmp_path_factory.mktemp("hosts"))
    # Images are the usual installation's.
    another.image = installation.image
    another.environment |= {"DW_RECONCILE_SECONDS": "1", "DW_RECONCILE_GRACE": "1"}
    another.add_credential()
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with fleet_of(another, client, worker_id) as made:
        made.start("one")
        made.start("two")
        yield made
    client.close()


@pytest.fixture
def new_stage(fleet):
    """Makes stages, and removes what they have at the end."""
    made = []
    yield lambda: made.append(Placed(fleet)) or made[-1]
    for each in made:
        each.clear()


@pytest.fixture
def stage(new_stage):
    return new_stage()


@pytest.fixture
def two_away(fleet):
    """The second host's only worker is killed; it is back at the end, or once this is called."""
    fleet.lose("two")

    def come_back():
        if fleet.workers["two"].poll() is not None:
            fleet.start("two")

    yield come_back
    come_back()


def page(result):
    with urllib.request.urlopen(f"http://127.0.0.1:{result['ports']['8080/tcp']}/") as answer:
        return answer.read().decode().strip()


def error_of(result):
    return type(result.get(timeout=90, propagate=False)).__name__


def test_stages_go_to_a_host_and_stay_there(fleet, new_stage):
    # The first engine may have other tests' containers, and so less to spare.
    stages = {new_stage(): host for host in ("one", "two", None) for _ in range(2)}
    first = [each.get(timeout=90) for each in [stage.send(host=host) for stage, host in stages.items()]]
    assert [each["host"] for each in first[:4]] == ["one", "one", "two", "two"]
    second = [stage.deploy("shop:v2") for stage in stages]
    assert [each["host"] for each in second] == [each["host"] for each in first]
    for stage, result in zip(stages, second, strict=True):
        assert stage.on(result["host"]) == {result["container_id"]}
        assert page(result) == "shop v2"
    shown = {each["host"]: each for each in fleet.dw("hosts")["hosts"]}
    assert shown.keys() == {"one", "two"}
    assert all(each["engine"] and each["cpus"] and each["free_disk"] for each in shown.values())


def test_a_stage_moves_to_the_host_that_is_asked_for(stage):
    before = stage.deploy(host="two")
    assert before["host"] == "two"
    after = stage.deploy("shop:v2", host="one")
    assert after["host"] == "one"
    assert after["replaced"] == [before["container_id"]]
    assert page(after) == "shop v2"
    assert (stage.on("one"), stage.on("two")) == ({after["container_id"]}, set())
    # Whoever is asked, at once.
    assert all(stage.listed() == {("one", after["container_id"])} for _ in range(6))
    assert stage.deploy("shop:v2")["state"] == "unchanged"


def test_a_move_that_fails_costs_nothing(stage, images):
    before = stage.deploy(host="two")
    broken = images("broken", "v1", command=["/bin/busybox", "false"])
    assert error_of(stage.send(broken, host="one")) == "StartFailed"
    assert (stage.on("one"), stage.on("two")) == (set(), {before["container_id"]})
    assert page(before) == "shop v1"
    # Where it is, is where it goes on.
    assert stage.deploy("shop:v2")["host"] == "two"


@pytest.mark.parametrize(
    "kept", [{"volumes": {"data-of-moves": "/data"}}, {"strategy": "stop-first"}], ids=["volume", "stop-first"]
)
def test_what_cannot_be_on_two_hosts_does_not_move(stage, kept):
    before = stage.deploy(host="two", **kept)
    asked = stage.send("shop:v2", host="one", **kept)
    assert error_of(asked) == "SpecInvalid"
    assert "two" in asked.result.args[0]
    assert (stage.on("one"), stage.on("two")) == (set(), {before["container_id"]})


def test_a_host_that_nobody_knows_is_refused(stage):
    asked = stage.send(host="three")
    assert error_of(asked) == "SpecInvalid"
    assert "one, two" in asked.result.args[0]


def test_any_worker_is_told_of_a_container_wherever_it_is(stage):
    result = stage.deploy(host="two")
    # Both hosts' workers take from the shared queue.
    for _ in range(3):
        assert stage.ask("docker.logs", container=result["container_id"])["container_id"] == result["container_id"]
        assert stage.ask("docker.stop", container=result["container_name"], timeout=0)["exit_code"] is not None
        assert stage.ask("docker.start", container=result["container_id"][:12])["ports"]
    assert stage.ask("docker.remove", container=result["container_id"], force=True)["removed"]
    assert stage.on("two") == set()


def test_a_rollback_is_where_the_stage_is(stage):
    stage.deploy(host="two")
    stage.deploy("shop:v2")
    for _ in range(3):
        back = stage.ask("docker.rollback", project=stage.project, stage=stage.name)
        assert back["host"] == "two"
        assert stage.on("two") == {back["container_id"]}


def test_an_order_to_a_stage_is_done_where_that_is(stage, fleet):
    result = stage.deploy(host="two")
    assert fleet.dw("stop", stage.where)["stopped"][0]["container_id"] == result["container_id"]
    assert fleet.dw("restart", stage.where)["exit"] == 0
    assert fleet.dw("rm", stage.where, "--force")["exit"] == 0
    assert stage.on("two") == set()
    assert stage.listed() == set()


def test_a_drained_host_is_left_stage_by_stage_and_takes_on_nothing(fleet, new_stage):
    stages = [new_stage() for _ in range(2)]
    before = [each.deploy(host="two") for each in stages]
    try:
        drained = fleet.dw("drain", "two", "--move")
        moved = {each["project"]: each for each in drained["moved"]}
        for stage, old in zip(stages, before, strict=True):
            assert moved[stage.project]["host"] == "one"
            assert moved[stage.project]["digest"] == old["digest"]
            assert stage.on("two") == set()
            # Its name is the one that the old one had; whoever is asked finds it.
            name = moved[stage.project]["container_name"]
            assert all(stage.ask("docker.logs", container=name)["container_name"] == name for _ in range(4))
        assert fleet.state("two") == "drained"
        assert {new_stage().deploy()["host"] for _ in range(3)} == {"one"}
        assert error_of(stages[0].send(host="two")) == "SpecInvalid"
    finally:
        assert fleet.dw("drain", "two", "--end")["exit"] == 0
    assert stages[0].deploy(host="two")["host"] == "two"


def test_what_is_for_a_host_that_is_away_waits_says_so_and_goes_through(stage, new_stage, two_away):
    asked = stage.send(host="two")
    assert "two" in until(lambda: asked.state == "PROGRESS" and asked.info.get("waits_for"))
    # The other one goes on, and nothing new is for the one that is away.
    assert new_stage().deploy()["host"] == "one"
    assert asked.state == "PROGRESS"
    two_away()
    assert asked.get(timeout=60)["host"] == "two"


def test_a_deployment_does_not_outlast_its_deadline_though_its_host_is_away(stage, two_away):
    asked = stage.send(host="two", timeout=1)
    assert error_of(asked) == "DeadlineExceeded"
    assert "two" in asked.result.args[0]
    # And holds its stage no longer.
    assert stage.deploy(host="one")["host"] == "one"


def test_one_that_waits_for_a_host_that_is_away_can_be_cancelled(stage, two_away):
    asked = stage.send(host="two")
    until(lambda: asked.state == "PROGRESS")
    stage.ask("docker.cancel", deployment_id=asked.id)
    assert error_of(asked) == "DeploymentCancelled"


def test_a_stage_leaves_a_host_that_is_away_and_what_it_had_there_goes_when_that_is_back(stage, fleet):
    before = stage.deploy(host="two")
    fleet.lose("two")
    # It is known still, as what its host told last.
    assert stage.listed() == {("two", before["container_id"])}
    assert "two (away)" in fleet.installation.dw("ps", stage.where).stdout
    after = stage.deploy("shop:v2", host="one")
    assert page(after) == "shop v2"
    assert stage.on("two") == {before["container_id"]}
    fleet.start("two")
    until(lambda: stage.on("two") == set())
    assert stage.on("one") == {after["container_id"]}


def test_a_stage_that_was_removed_stays_so_when_a_host_is_back_that_had_an_older_version_of_it(stage, fleet):
    before = stage.deploy(host="two")
    fleet.lose("two")
    stage.deploy("shop:v2", host="one")
    assert fleet.dw("rm", stage.where, "--force")["exit"] == 0
    assert stage.on("two") == {before["container_id"]}
    fleet.start("two")
    until(lambda: stage.on("two") == set())
    assert stage.listed() == set()


def test_what_was_stopped_for_a_deployment_runs_again_when_its_host_is_back(stage, fleet, images):
    before = stage.deploy(host="two")
    late = images("late", "v1", healthcheck=["/bin/busybox", "false"])
    asked = stage.send(late, strategy="stop-first", timeout=10, health={"timeout": 60})
    until(lambda: len(stage.on("two")) == 2 and asked.info and asked.info.get("step") == "prove")
    fleet.lose("two")
    assert error_of(asked) == "DeadlineExceeded"
    with pytest.raises(urllib.error.URLError):
        page(before)
    fleet.start("two")
    until(lambda: stage.on("two") == {before["container_id"]})
    until(lambda: fleet.engines["two"].inspect_container(before["container_id"])["State"]["Running"])


def test_a_host_that_is_gone_for_good_can_be_forgotten(stage, new_stage, fleet):
    lived = new_stage()
    volumes = {"data-that-is-lost": "/data"}
    lived.deploy(host="two", volumes=volumes)
    fleet.lose("two")
    asked = stage.send(host="two")
    until(lambda: asked.state == "PROGRESS")
    assert fleet.dw("forget", "one")["exit"] == 1
    assert fleet.dw("forget", "two")["exit"] == 0
    assert error_of(asked) == "EngineUnavailable"
    assert [each["host"] for each in fleet.dw("hosts")["hosts"]] == ["one"]
    assert stage.deploy()["host"] == "one"
    # Also what was live there is deployed anew.
    assert lived.deploy(volumes=volumes)["host"] == "one"
    fleet.start("two")
    until(lambda: lived.on("two") == set())
