"""Records and containers that don't fit each other: what is mended, and what is left alone."""

import json
import time
import uuid

import pytest
import redis
from celery import Celery

from tests.flow.conftest import Installation, Stage, page

GRACE = 3


@pytest.fixture(scope="module")
def another(second_redis_url, tmp_path_factory, images):
    """An installation of its own, as reconciling sees to a whole namespace; it reconciles when it is asked to."""
    another = Installation(second_redis_url, tmp_path_factory.mktemp("logs"))
    another.environment |= {"DW_RECONCILE_SECONDS": "3600", "DW_RECONCILE_GRACE": str(GRACE)}
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with another.worker(client):
        yield another, client
    client.close()


@pytest.fixture
def stage(another, engine, images, installation):
    mine, client = another
    stage = Stage(client, engine, mine)
    for tag in ("v1", "v2"):
        engine.tag(installation.image("shop", tag), mine.image("shop", tag).rpartition(":")[0], tag)
    yield stage
    for each in stage.containers():
        engine.remove_container(each["Id"], force=True)
    stage.ask("docker.reconcile")


@pytest.fixture
def store(another):
    mine, _ = another
    with redis.Redis.from_url(mine.redis_url, decode_responses=True) as connection:
        yield connection


def deploy(stage, image, **arguments):
    return stage.deploy(image, policy="missing", **arguments)


def make(stage, *, deployment, made_by="deploy", start=True, **labels):
    """A container as one of the deployments of another stage would have made it."""
    ours = {
        "namespace": stage.installation.namespace,
        "project": stage.project,
        "stage": "other",
        "instance-id": deployment,
        "deployment-id": deployment,
        **({"fingerprint": "x"} if made_by == "deploy" else {}),
        **labels,
    }
    made = stage.engine.create_container(
        stage.image("shop:v1"),
        # A second engine that a test starts takes the private one's default bridge away.
        host_config=stage.engine.create_host_config(network_mode="none"),
        name=f"{stage.project}-{uuid.uuid4().hex[:8]}",
        labels={f"docker-watcher.{name}": value for name, value in ours.items()},
    )
    if start:
        stage.engine.start(made["Id"])
    return made["Id"]


def ids(stage):
    return {each["Id"] for each in stage.containers()}


def lose_all(store):
    """As `FLUSHALL` does to a Redis of one database; the worker doesn't reconcile by itself at once."""
    with store.pipeline() as pipeline:
        keys = list(store.scan_iter("dw:*:reconciled:*"))
        pipeline.flushdb()
        for key in keys:
            pipeline.set(key, 1)
        pipeline.execute()


def grow_older():
    time.sleep(GRACE + 1)  # engines count whole seconds


def test_nothing_is_found_where_all_fits(stage):
    live = deploy(stage, "shop:v1")
    grow_older()
    found = stage.ask("docker.reconcile")
    assert found == {
        "host": "local",
        "containers": found["containers"],
        **{what: [] for what in ("removed", "failed", "restored", "adopted", "released", "resumed", "moved")},
    }
    assert ids(stage) == {live["container_id"]}


def test_what_an_ended_deployment_has_left_is_removed(stage):
    live = deploy(stage, "shop:v1")
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=30, propagate=False)
    # Such as a creation that the engine had accepted, and did only after it was undone.
    make(stage, deployment=failed.id)
    make(stage, deployment=live["deployment_id"], start=False)
    grow_older()
    assert len(stage.ask("docker.reconcile")["removed"]) == 2
    assert ids(stage) == {live["container_id"]}


def test_what_is_young_or_under_way_or_not_ours_is_left_alone(stage, store):
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=30, propagate=False)
    others = make(stage, deployment=failed.id, namespace="another-one")
    nobodys = stage.engine.create_container(stage.image("shop:v1"), labels={"project": stage.project})["Id"]
    by_hand = make(stage, deployment="never-recorded", made_by="create", start=False)
    running = stage.send("docker.deploy", **stage.deployment("shop:v1", policy="missing", health={"timeout": 60}))
    stage.until(lambda: stage.record(running.id).get("container_id") or len(ids(stage)) == 3)
    grow_older()
    young = make(stage, deployment=failed.id)
    assert stage.ask("docker.reconcile")["removed"] == []
    live = running.get(timeout=30)["container_id"]
    assert ids(stage) == {others, by_hand, young, live}
    assert stage.engine.inspect_container(nobodys)
    stage.engine.remove_container(nobodys)


def test_a_lost_redis_costs_nothing_that_runs(stage, store):
    """At rest: what runs is listed, adopted, and replaced by the next deployment."""
    first = deploy(stage, "shop:v1", env={"A": "b"}, aliases=[stage.alias])
    lose_all(store)
    assert f"{stage.project}/staging" in stage.installation.dw("ps").stdout
    assert stage.ask("docker.reconcile")["adopted"] == [first["container_name"]]
    assert stage.ask("docker.reconcile")["adopted"] == []
    assert stage.record(first["deployment_id"])["outcome"] == "adopted"
    assert '"env":{"A":"b"}' in stage.record(first["deployment_id"])["spec"]
    assert ids(stage) == {first["container_id"]}
    second = deploy(stage, "shop:v2", aliases=[stage.alias])
    assert second["replaced"] == [first["container_id"]]
    assert ids(stage) == {second["container_id"]}


def go_back(stage, **arguments):
    return stage.ask("docker.rollback", project=stage.project, stage=stage.name, **arguments)


def test_instances_that_are_kept_stay_where_redis_is_lost(stage, store):
    kept = [deploy(stage, "shop:v1", keep=2), deploy(stage, "shop:v2", keep=2)]
    lose_all(store)
    grow_older()
    for _ in range(2):
        assert stage.ask("docker.reconcile")["removed"] == []
    assert ids(stage) == {each["container_id"] for each in kept}


def test_what_had_to_make_room_runs_again_though_redis_was_lost_meanwhile(stage, store):
    before = deploy(stage, "shop:v1")
    asked = stage.deployment(
        "shop:v2", policy="missing", strategy="stop-first", command=["/bin/busybox", "sleep", "60"]
    )
    sent = stage.send("docker.deploy", **asked)
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    lose_all(store)
    grow_older()
    found = stage.ask("docker.reconcile")
    assert found["restored"] == [before["container_name"]]
    (container,) = stage.containers()
    assert (container["Id"], container["State"]) == (before["container_id"], "running")
    assert stage.ask("docker.reconcile")["restored"] == []
    assert deploy(stage, "shop:v2", strategy="stop-first")["replaced"] == [before["container_id"]]


@pytest.mark.parametrize("first", ["nothing", "reconciling", "a worker that starts"])
def test_a_lost_redis_doesn_t_cost_the_version_before(stage, store, first):
    secret = stage.installation.dw("seal", f"{stage.project}/staging", "TOKEN", input="canary").stdout.strip()
    versions = [deploy(stage, "shop:v1", secret_env={"TOKEN": secret}), deploy(stage, "shop:v2")]
    lose_all(store)
    if first == "reconciling":
        assert stage.ask("docker.reconcile")["adopted"] == [versions[1]["container_name"]]
    elif first == "a worker that starts":
        with stage.installation.worker(stage.client):
            stage.until(lambda: stage.record(versions[1]["deployment_id"]))
    result = go_back(stage)
    assert page(result) == "shop v1"
    assert ids(stage) == {result["container_id"]}
    assert "TOKEN=canary" in stage.engine.inspect_container(result["container_id"])["Config"]["Env"]
    assert stage.record(result["deployment_id"])["rollback_to"] == versions[0]["deployment_id"]
    told = json.loads(stage.installation.dw("history", f"{stage.project}/staging", "--json").stdout)["deployments"]
    asked_for = [result["deployment_id"], versions[1]["deployment_id"], versions[0]["deployment_id"]]
    stage.until(lambda: stage.record(result["deployment_id"])["step"] == "ended")
    assert [each["deployment_id"] for each in told] == asked_for
    assert page(go_back(stage)) == "shop v2"


def test_the_first_deployment_after_the_loss_of_redis_can_be_gone_back_from(stage, store):
    versions = [deploy(stage, "shop:v1"), deploy(stage, "shop:v2")]
    lose_all(store)
    assert deploy(stage, "shop:v1", env={"A": "b"})["replaced"] == [versions[1]["container_id"]]
    assert page(go_back(stage)) == "shop v2"
    assert page(go_back(stage, to=versions[0]["deployment_id"])) == "shop v1"


def test_the_last_version_of_a_stage_that_was_removed_outlives_redis_too(stage, store):
    deploy(stage, "shop:v1")
    stage.ask("docker.stage", project=stage.project, stage=stage.name, action="remove", force=True)
    deploy(stage, "shop:v2")
    lose_all(store)
    assert page(go_back(stage)) == "shop v1"


def test_a_version_before_that_was_sealed_for_another_container_is_not_believed(stage, store):
    """Whoever can make containers can copy labels."""
    deploy(stage, "shop:v1")
    live = deploy(stage, "shop:v2")
    copied = stage.engine.inspect_container(live["container_id"])["Config"]["Labels"]["docker-watcher.previous"]
    stage.engine.remove_container(live["container_id"], force=True)
    lose_all(store)
    last = deploy(stage, "shop:v2")
    labels = stage.engine.inspect_container(last["container_id"])["Config"]["Labels"]
    lose_all(store)
    stage.engine.remove_container(last["container_id"], force=True)
    forged = stage.engine.create_container(
        stage.image("shop:v2"),
        # Without one it would be taken for a candidate, but not on 20.10, which says nothing where none was asked for.
        host_config=stage.engine.create_host_config(network_mode="none", restart_policy={"Name": "always"}),
        name=f"{stage.project}-forged",
        labels={**labels, "docker-watcher.previous": copied},
    )["Id"]
    stage.engine.start(forged)
    assert stage.ask("docker.reconcile")["adopted"] == [f"{stage.project}-forged"]
    error = stage.send("docker.rollback", project=stage.project, stage=stage.name).get(timeout=30, propagate=False)
    assert type(error).__name__ == "SpecInvalid"


def test_a_redis_that_is_lost_in_the_middle_costs_nothing_that_runs(stage, store, images):
    """The deployment under way is forgotten; its candidate runs on, until the next deployment replaces both."""
    first = deploy(stage, "shop:v1")
    sent = stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing", health={"stable": 60}))
    slow = images("unhurried", "v1", command=["/bin/busybox", "sleep", "600"], healthcheck=None)
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    sent = stage.send("docker.deploy", **stage.deployment(slow, policy="missing", health={"stable": 60}))
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    before = ids(stage)
    assert len(before) == 2
    lose_all(store)
    grow_older()
    stage.ask("docker.reconcile")
    assert ids(stage) == before
    assert {each["State"] for each in stage.containers()} == {"running"}
    assert len(stage.ask("docker.list", project=stage.project)["containers"]) == 2
    last = deploy(stage, "shop:v1", force=True)
    assert set(last["replaced"]) == before
    assert ids(stage) == {last["container_id"]}
    assert first["container_id"] not in ids(stage)


def test_twice_at_once_is_safe(stage):
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=30, propagate=False)
    orphan = make(stage, deployment=failed.id)
    live = deploy(stage, "shop:v1")
    grow_older()
    sent = [stage.send("docker.reconcile") for _ in range(6)]
    removed = [name for each in sent for name in each.get(timeout=30)["removed"]]
    assert len(removed) == 1
    assert orphan not in ids(stage)
    assert ids(stage) == {live["container_id"]}


def test_a_stage_whose_holder_was_forgotten_is_released(stage, store):
    holder = stage.send("docker.deploy", **stage.deployment("shop:v1", policy="missing"))
    holder.get(timeout=30)
    stage.until(lambda: stage.record(holder.id)["step"] == "ended")
    key = f"dw:{stage.installation.namespace}:stage:{stage.project}/{stage.name}"
    store.hset(key, "running", "forgotten")
    assert stage.ask("docker.reconcile")["released"] == ["forgotten"]
    assert store.hget(key, "running") is None


def test_a_worker_reconciles_when_it_starts(stage, store):
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=30, propagate=False)
    orphan = make(stage, deployment=failed.id)
    grow_older()
    with stage.installation.worker(stage.client):
        stage.until(lambda: orphan not in ids(stage))
