"""Who asks for deployments, in any language: the examples of docs/producers.md, and messages of earlier clients."""

import base64
import json
import subprocess
import uuid
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.flow.conftest import Stage, flower_of, page
from tests.flow.envelope import QUEUE
from tests.flow.examples import run
from worker.client import Client, DeploymentResult, Unanswered
from worker.errors import DeploymentCancelled, ImageNotFound, SpecInvalid

PRODUCERS = ("deploy.py", "poller.py", "deploy.js", "redis.sh", "flower.sh")


@pytest.fixture(scope="module")
def flower_url(client, engine, installation, worker):
    with flower_of(Stage(client, engine, installation), password="ci:secret") as flower:
        yield flower.url


@pytest.fixture
def produce(stage, installation, tmp_path, request):
    """Run an example for an image; it has the address of what it asks, and nothing else of the worker's settings."""

    def produce(name, image):
        where = {"DW_REDIS_URL": installation.redis_url}
        if name == "flower.sh":
            where = {"FLOWER_URL": request.getfixturevalue("flower_url"), "FLOWER_BASIC_AUTH": "ci:secret"}
        return run(name, tmp_path, stage.project, stage.name, stage.image(image), "registry", **where)

    return produce


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_producer_deploys_a_real_image_and_is_told_of_progress_and_ports(stage, produce, name):
    done = produce(name, "shop:v1")
    assert done.returncode == 0, done.stderr
    (container,) = stage.containers()
    assert container["State"] == "running"
    port = next(each["PublicPort"] for each in container["Ports"] if each["IP"] == "0.0.0.0")
    assert page({"ports": {"8080/tcp": port}}) == "shop v1"
    assert container["Labels"]["docker-watcher.deployment-id"] in done.stdout
    assert str(port) in done.stdout.splitlines()[-1]
    assert "prove" in done.stdout


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_producer_is_told_the_type_and_the_sentence_of_an_error(stage, produce, name):
    failed = produce(name, "shop:v9")
    assert failed.returncode == 1
    said = failed.stdout + failed.stderr
    assert "ImageNotFound" in said
    assert f"Pulling image {stage.image('shop:v9')} failed" in said
    assert stage.containers() == []


def test_revoking_by_flowers_api_cancels(stage, flower_url, images):
    images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    sent = stage.send("docker.deploy", **stage.deployment("slow:v1", health={"stable": 30}))
    stage.until(lambda: sent.state == "PROGRESS" and sent.info.get("step") == "prove")
    command = ["curl", "-sS", "--fail", "-u", "ci:secret", "-X", "POST", f"{flower_url}/api/task/revoke/{sent.id}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with pytest.raises(Exception, match="was cancelled in step prove"):
        sent.get(timeout=30)
    stage.until(lambda: not stage.containers())


@pytest.fixture
def typed(installation):
    with Client(installation.redis_url) as client:
        yield client


def test_the_typed_client_gives_the_contracts_result(stage, typed):
    deployment = typed.deploy(stage.project, stage.name, stage.image("shop:v1"), labels={"team": "a"})
    steps = [progress.step for progress in deployment.progress()]
    result = deployment.result()
    assert isinstance(result, DeploymentResult)
    assert result.model_dump() == stage.client.AsyncResult(deployment.id).get()
    assert steps[-1:] != []
    assert page(result.model_dump()) == "shop v1"
    assert typed.deployment(deployment.id).has_ended()
    (listed,) = typed.list(stage.project)
    assert listed.container_id == result.container_id
    assert typed.logs(listed.container_id, tail=5) == []


def test_the_typed_client_raises_the_contracts_errors(stage, typed):
    failed = typed.deploy(stage.project, stage.name, stage.image("shop:v9"))
    with pytest.raises(ImageNotFound) as caught:
        failed.result(30)
    assert caught.value.facts["step"] == "pull"
    assert not caught.value.retryable


def test_the_typed_client_sends_nothing_that_is_wrong(stage, typed, installation):
    with pytest.raises(SpecInvalid, match="kep: there is no such argument"):
        typed.deploy(stage.project, "no stage", stage.image("shop:v1"), kep=1)
    with pytest.raises(SpecInvalid, match="DB_PASSWORD: looks like a secret"):
        typed.deploy(stage.project, stage.name, stage.image("shop:v1"), env={"DB_PASSWORD": "x"})


def test_the_same_id_twice_is_one_deployment(stage, typed):
    own = f"{stage.project}-1.4.2"
    first, again = (
        typed.deploy(stage.project, stage.name, stage.image("shop:v1"), deployment_id=own).result(60) for _ in range(2)
    )
    assert first == again
    assert first.deployment_id == own
    assert len(stage.containers()) == 1


def test_the_typed_client_cancels_and_goes_back(stage, typed, images):
    images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    for image in ("shop:v1", "shop:v2"):
        live = typed.deploy(stage.project, stage.name, stage.image(image)).result(60)
    slow = typed.deploy(stage.project, stage.name, stage.image("slow:v1"), health={"stable": 30})
    assert any(progress.step == "prove" for progress in slow.progress())
    with pytest.raises(Unanswered, match="goes on: it is at step"):
        slow.result(0.01)
    assert slow.cancel() in {"cancelling", "cancelled"}
    with pytest.raises(DeploymentCancelled):
        slow.result(30)
    back = typed.rollback(stage.project, stage.name).result(60)
    assert back.image.startswith(f"{stage.image('shop:v1')}@sha256:")
    assert back.replaced == [live.container_id]


def test_what_has_expired_is_not_done_and_its_caller_is_told(stage, typed):
    late = typed.deploy(stage.project, stage.name, stage.image("shop:v1"), expires=-1)
    with pytest.raises(Unanswered, match="expired"):
        late.result(30)
    assert stage.containers() == []


@pytest.fixture
def unserved_url(second_redis_url):
    """A Redis without workers."""
    yield second_redis_url
    with redis.Redis.from_url(second_redis_url) as connection:
        connection.flushdb()


def test_nobody_to_take_it_is_told(unserved_url):
    with Client(unserved_url) as nobody, pytest.raises(Unanswered, match=r"No worker has answered docker\.deploy"):
        nobody.deploy("shop", "staging", "acme/shop:1").result(0.2)
    with Client("redis://127.0.0.1:1/0") as nobody, pytest.raises(Unanswered, match="can't be reached"):
        nobody.deploy("shop", "staging", "acme/shop:1")


STORED = Path(__file__).with_name("messages")
IMAGE = "registry.example.com/acme/shop:1.4.2"


@pytest.fixture(scope="module")
def replayed(installation, client, engine, worker, images):
    """Everything that is stored, written to its queue byte for byte; the image is one that the engine has."""
    name, _, tag = IMAGE.rpartition(":")
    engine.tag(images("shop", "v1"), name, tag)
    with redis.Redis.from_url(installation.redis_url) as connection:
        for path in STORED.iterdir():
            raw = path.read_bytes()
            priority = json.loads(raw)["properties"].get("priority", 0)
            connection.lpush(f"{QUEUE}\x06\x16{priority}" if priority else QUEUE, raw)
    yield
    for path in STORED.iterdir():
        Stage(client, engine, installation, project=path.stem.replace(".", "-")).clear()
    engine.remove_image(IMAGE)


@pytest.mark.parametrize("name", sorted(path.name for path in STORED.iterdir()))
def test_a_message_of_an_earlier_client_is_taken_as_ever(client, replayed, name):
    stored = json.loads((STORED / name).read_bytes())
    body = stored["body"]
    read = json.loads(base64.b64decode(body) if stored["properties"]["body_encoding"] == "base64" else body)
    task_id = read["id"] if isinstance(read, dict) else stored["headers"]["id"]
    result = client.AsyncResult(task_id).get(timeout=60)
    assert (result["image"], result["state"]) == (IMAGE, "live")
    assert result["deployment_id"] == task_id


def test_what_celery_sends_is_what_is_stored_and_documented(unserved_url):
    stored = json.loads((STORED / "celery-5.7.0.json").read_bytes())
    with Celery(broker=unserved_url, backend=unserved_url, set_as_current=False) as app:
        _, arguments, _ = json.loads(base64.b64decode(stored["body"]))
        app.send_task("docker.deploy", kwargs=arguments, task_id=stored["headers"]["id"])
    with redis.Redis.from_url(unserved_url) as connection:
        sent = json.loads(connection.rpop(QUEUE))
    for each in (sent, stored):
        for place, name in (("headers", "origin"), ("properties", "reply_to"), ("properties", "delivery_tag")):
            del each[place][name]
    assert sent == stored


NEEDED = {
    "a body": lambda whole: whole.pop("body"),
    "its kind": lambda whole: whole.pop("content-type"),
    "a task": lambda whole: whole["headers"].pop("task"),
    "properties": lambda whole: whole.pop("properties"),
    "a tag": lambda whole: whole["properties"].pop("delivery_tag"),
    "what the body is in": lambda whole: whole["properties"].pop("body_encoding"),
}


@pytest.mark.parametrize("spoil", NEEDED.values(), ids=NEEDED)
def test_each_part_that_is_documented_as_needed_is(client, installation, worker, spoil):
    whole = json.loads((STORED / "redis-cli.json").read_text())
    task_id = whole["headers"]["id"] = str(uuid.uuid4())
    whole["headers"]["task"] = "docker.list"
    whole["body"] = base64.b64encode(b"[[], {}, {}]").decode()
    whole["properties"]["delivery_tag"] = task_id
    spoil(whole)
    with redis.Redis.from_url(installation.redis_url) as connection:
        connection.lpush(QUEUE, json.dumps(whole))
    client.send_task("docker.list").get(timeout=30)
    client.send_task("docker.list").get(timeout=30)
    assert client.AsyncResult(task_id).state in {"PENDING", "FAILURE"}
