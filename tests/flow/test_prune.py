"""What only ended deployments used is removed, and nothing that anybody needs or that isn't docker-watcher's."""

import contextlib
import io
import json

import docker
import pytest
import redis
from celery import Celery

from tests.flow.conftest import Installation, Stage
from tests.services import remove_managed

KEEP = 2
EXITS = ("/bin/busybox", "false")


@pytest.fixture(scope="module")
def another(second_redis_url, tmp_path_factory, engine, images):
    """An installation of its own, as pruning sees to all of a host; what is old is made so by `Stage.prunable`."""
    another = Installation(second_redis_url, tmp_path_factory.mktemp("logs"))
    another.environment |= {
        "DW_PRUNE_KEEP": str(KEEP),
        "DW_RECONCILE_SECONDS": "3600",
        "DW_RECONCILE_GRACE": "0.001",
        "DW_STABLE_SECONDS": "0",
    }
    another.add_credential()
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with another.worker(client):
        yield another, client
    client.close()
    remove_managed(engine, another.namespace)


@pytest.fixture
def stage(another, engine):
    installation, client = another
    return Stage(client, engine, installation)


@pytest.fixture
def store(another):
    with redis.Redis.from_url(another[0].redis_url, decode_responses=True) as connection:
        yield connection


@pytest.fixture
def publish(stage, engine, images):
    """Push an image like no other, and have the engine forget it."""
    made = []

    def publish(repository="pruned", tag="v1", **options):
        reference = images(f"{repository}-{stage.project}", tag, healthcheck=None, layers=[100_000], **options)
        made.append(reference)
        engine.remove_image(reference, force=True)
        return reference

    yield publish
    for each in made:
        with contextlib.suppress(docker.errors.APIError):
            engine.remove_image(each, force=True)


@pytest.fixture
def failed(stage, publish):
    """An image that nothing but a deployment that has ended used: what makes it is asked for first."""

    def fail(image=None):
        image = image or publish(command=EXITS)
        sent = stage.send("docker.deploy", **stage.deployment(image, health={"stable": 30}))
        assert type(sent.get(timeout=60, propagate=False)).__name__ == "StartFailed"
        stage.until(lambda: stage.record(sent.id)["step"] == "ended")
        return image

    return fail


@pytest.fixture
def grow_old(another, store):
    """Have all images be older than any age: by when they were used, as far as records know."""
    key = f"dw:{another[0].namespace}:used:local"
    return lambda: store.zadd(key, dict.fromkeys(store.zrange(key, 0, -1), 1))


def is_there(stage, image):
    try:
        return stage.engine.inspect_image(image)
    except docker.errors.ImageNotFound:
        return None


def pruned(stage, **arguments):
    return [each["name"] for each in stage.ask("docker.prune", **arguments)["images"]]


def test_the_last_live_versions_stay_and_what_is_young(stage, publish, grow_old, store):
    versions = [publish(tag=f"v{number}") for number in range(1, 5)]
    ids = [stage.deploy(each)["image_id"] for each in versions]
    assert pruned(stage) == []
    grow_old()
    size = is_there(stage, ids[0])["Size"]
    listed = stage.ask("docker.prune", dry_run=True, keep=3)
    assert listed == {
        "host": "local",
        "dry_run": True,
        "images": [{"name": versions[0], "id": ids[0], "size": size}],
        "containers": [],
        "bytes_freed": size,
    }
    assert is_there(stage, ids[0])
    assert stage.ask("docker.prune", keep=3) == {**listed, "dry_run": False}
    assert pruned(stage) == [versions[1]]
    assert [bool(is_there(stage, each)) for each in ids] == [False, False, True, True]
    remembered = store.hvals(f"dw:{stage.installation.namespace}:pulled:local")
    assert not set(ids[:2]) & set(remembered)
    assert set(ids[2:]) <= set(remembered)
    assert pruned(stage) == []


def test_an_image_whose_tag_has_moved_goes(stage, publish, grow_old):
    first, *_, last = [stage.deploy(publish(page=page))["image_id"] for page in ("one", "two", "three")]
    grow_old()
    assert [each["id"] for each in stage.ask("docker.prune")["images"]] == [first]
    assert not is_there(stage, first)
    assert is_there(stage, last)


def test_what_only_a_failed_deployment_used_goes(failed, stage, grow_old):
    image = failed()
    assert pruned(stage) == []
    grow_old()
    assert pruned(stage) == [image]


def test_what_was_there_before_stays(stage, images, failed, grow_old):
    image = failed(images(f"brought-{stage.project}", "v1", healthcheck=None, command=EXITS))
    grow_old()
    assert pruned(stage) == []
    assert is_there(stage, image)


def test_what_was_pulled_for_no_deployment_stays(stage, publish, failed, grow_old):
    image = publish(command=EXITS)
    assert stage.ask("docker.pull", image=image)["pulled"]
    grow_old()
    assert pruned(stage) == []
    failed(image)
    grow_old()
    # Asked for anew, as by who is about to make a container of it, it is young again.
    assert not stage.ask("docker.pull", image=image)["pulled"]
    assert pruned(stage) == []
    grow_old()
    assert pruned(stage) == [image]


def test_what_somebody_else_has_named_stays(stage, failed, grow_old):
    image = failed()
    stage.engine.tag(image, f"{stage.project}/theirs", "v1")
    grow_old()
    assert pruned(stage) == []
    stage.engine.remove_image(f"{stage.project}/theirs:v1")
    assert pruned(stage) == [image]


def test_what_anybodys_container_is_made_of_stays(stage, failed, grow_old):
    image = failed()
    container = stage.engine.create_container(
        image, host_config=stage.engine.create_host_config(network_mode="none"), name=f"theirs-{stage.project}"
    )
    grow_old()
    assert pruned(stage) == []
    assert is_there(stage, image)
    stage.engine.remove_container(container)
    assert pruned(stage) == [image]


def test_what_another_image_was_built_from_stays(stage, failed, grow_old):
    image = failed()
    child = f"{stage.project}/child:v1"
    dockerfile = io.BytesIO(f"FROM {image}\nLABEL a=b".encode())
    for line in stage.engine.build(fileobj=dockerfile, tag=child, rm=True, decode=True):
        assert "error" not in line
    grow_old()
    assert pruned(stage) == []
    stage.engine.remove_image(child)
    assert pruned(stage) == [image]


def test_what_a_deployment_waits_to_use_stays(stage, publish, failed, grow_old):
    image = failed()
    slow = publish("slow")
    first = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 60}))
    stage.until(lambda: stage.record(first.id).get("step") == "prove")
    waiting = stage.send("docker.deploy", **stage.deployment(image, policy="missing"))
    stage.until(lambda: stage.record(waiting.id).get("step") == "expire")
    grow_old()
    assert pruned(stage) == []
    for each in (waiting, first):
        stage.ask("docker.cancel", deployment_id=each.id)
        each.get(timeout=30, propagate=False)
        stage.until(lambda each=each: stage.record(each.id)["step"] == "ended")
    grow_old()
    assert set(pruned(stage)) == {image, slow}


def test_after_a_lost_redis_nothing_is_known_and_so_nothing_goes(stage, failed, grow_old, store):
    image = failed()
    grow_old()
    for key in store.scan_iter(f"dw:{stage.installation.namespace}:*"):
        if "credentials" not in key and "reconciled" not in key:
            store.delete(key)
    assert pruned(stage) == []
    assert is_there(stage, image)


def test_what_an_ended_deployment_has_left_goes_with_its_image(stage, failed, grow_old):
    image = failed()
    sent = stage.send("docker.deploy", **stage.deployment(image, health={"stable": 30}))
    sent.get(timeout=60, propagate=False)
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    ours = {"namespace": stage.installation.namespace, "project": stage.project, "stage": stage.name}
    labels = {**ours, "deployment-id": sent.id, "fingerprint": "x"}
    stage.engine.create_container(
        image,
        name=f"left-{stage.project}",
        labels={f"docker-watcher.{name}": value for name, value in labels.items()},
        host_config=stage.engine.create_host_config(network_mode="none"),
    )
    grow_old()
    listed = stage.ask("docker.prune", dry_run=True)
    assert (listed["containers"], [each["name"] for each in listed["images"]]) == ([f"left-{stage.project}"], [image])
    assert len(stage.containers()) == 1
    assert stage.ask("docker.prune") == {**listed, "dry_run": False}
    assert stage.containers() == []


def test_many_at_once_remove_each_image_once(stage, publish, failed, grow_old):
    images = {failed(publish(f"many{number}", command=EXITS)) for number in range(3)}
    grow_old()
    sent = [stage.send("docker.prune") for _ in range(6)]
    names = [image["name"] for each in sent for image in each.get(timeout=60)["images"]]
    assert len(names) == len(images)
    assert set(names) == images


def test_beat_has_it_done(stage, failed, grow_old, tmp_path):
    image = failed()
    grow_old()
    with stage.installation.process("beat", "-s", str(tmp_path / "schedule"), DW_PRUNE_SECONDS="1"):
        stage.until(lambda: not is_there(stage, image))


def test_dw_lists_what_would_go_and_removes_it(stage, failed, grow_old):
    image = failed()
    grow_old()
    shown = stage.installation.dw("prune", "--dry-run").stdout
    assert image in shown
    assert f"would free {is_there(stage, image)['Size'] / 1e6:.1f} MB" in shown
    assert is_there(stage, image)
    answer = json.loads(stage.installation.dw("prune", "--keep", "2", "--json").stdout)
    assert [each["name"] for each in answer["images"]] == [image]
    assert not is_there(stage, image)
    refused = stage.installation.dw("prune", "--keep", "1")
    assert refused.returncode == 1
    assert "keep" in refused.stderr
