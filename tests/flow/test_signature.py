"""With `DW_REQUIRE_SIGNATURE`, a message is taken only from a producer, for its own stages, as it signed it, once."""

import base64
import json
import secrets
import time
import uuid

import pytest
import redis
import rfc8785
from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.flow.conftest import Installation, Stage
from tests.flow.examples import run
from worker.client import Client


class Signer:
    """A producer, as anybody would write it from the documentation; `changed` is what it then alters."""

    def __init__(self, name):
        self.name = name
        self.key = Ed25519PrivateKey.generate()

    def policy(self, *stages):
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return f"[producers.{self.name}]\nkey = '''{pem}'''\nstages = {json.dumps(stages)}\n"

    def signed(self, task, task_id, arguments, **changed):
        fields = {"producer": self.name, "time": int(time.time()), "nonce": secrets.token_urlsafe(16), **changed}
        lines = ("docker-watcher/1", task, task_id, fields["producer"], str(fields["time"]), fields["nonce"])
        text = "".join(f"{line}\n" for line in lines).encode() + rfc8785.dumps(arguments)
        return {**fields, "value": base64.b64encode(self.key.sign(text)).decode()}


class Asker:
    """Sends signed messages with a plain client."""

    def __init__(self, client, signer):
        self.client = client
        self.signer = signer

    def send(self, task, *, signature=None, task_id=None, **arguments):
        task_id = task_id or str(uuid.uuid4())
        signature = signature or self.signer.signed(task, task_id, arguments)
        return self.client.send_task(task, kwargs=arguments, task_id=task_id, headers={"dw_signature": signature})

    def ask(self, task, **arguments):
        return self.send(task, **arguments).get(timeout=90)

    def refusal(self, task, **options):
        error = self.send(task, **options).get(timeout=30, propagate=False)
        return type(error).__name__, str(error)


@pytest.fixture(scope="module")
def guarded(second_redis_url, tmp_path_factory, engine, images, installation):
    """A stage of an installation that takes signed messages alone, its producer, and one who may touch another."""
    folder = tmp_path_factory.mktemp("signatures")
    another = Installation(second_redis_url, folder, namespace=installation.namespace)
    ours, theirs, root = Signer("ci"), Signer("others"), Signer("root")
    with Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False) as client:
        stage = Stage(client, engine, another)
        policy = folder / "policy.toml"
        producers = (ours.policy(f"{stage.project}/*"), theirs.policy("other/*"), root.policy("**"))
        policy.write_text("".join(producers))
        key = folder / "root.pem"
        key.touch(mode=0o600)
        key.write_bytes(root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        another.environment |= {"DW_POLICY_FILE": str(policy), "DW_REQUIRE_SIGNATURE": "true"}
        another.add_credential()
        stage.root = {"DW_PRODUCER": "root", "DW_SIGNING_KEY_FILE": str(key)}
        stage.ours, stage.theirs = Asker(client, ours), Asker(client, theirs)
        with another.worker(client):
            yield stage
            stage.clear()


@pytest.fixture
def live(guarded):
    return guarded.ours.ask("docker.deploy", **guarded.deployment("shop:v1"))


def test_what_is_not_signed_is_refused_before_anything_else(guarded):
    for task in ("docker.deploy", "docker.stop", "docker.list", "docker.prune", "docker.rollback", "docker.stage"):
        error = guarded.send(task, nonsense=True).get(timeout=30, propagate=False)
        assert type(error).__name__ == "PolicyDenied", task
        assert "isn't signed" in error.args[0]


ALTERED = {
    "another producer": {"producer": "others"},
    "nobody": {"producer": "nobody"},
    "another time": {"time": int(time.time()) - 60},
    "another nonce": {"nonce": "0" * 32},
    "no signature": {"value": ""},
    "rubbish": {"value": "=not base64="},
    "letters that are none of base64": {"value": "éééé"},
    "another signature": {"value": base64.b64encode(bytes(64)).decode()},
    "something more": {"algorithm": "none"},
    "no time": {"time": None},
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
def test_an_altered_signature_is_refused(guarded, altered):
    task_id = str(uuid.uuid4())
    signature = {**guarded.ours.signer.signed("docker.list", task_id, {}), **altered}
    kind, said = guarded.ours.refusal("docker.list", task_id=task_id, signature=signature)
    assert kind in {"PolicyDenied", "SpecInvalid"}, said


def test_a_signature_is_for_one_task_one_id_and_one_set_of_arguments(guarded):
    task_id, asked = str(uuid.uuid4()), guarded.deployment("shop:v1")
    signature = guarded.ours.signer.signed("docker.deploy", task_id, asked)
    for task, changed, own_id in (
        ("docker.deploy", {"image": guarded.image("shop:v2")}, task_id),
        ("docker.deploy", {"force": True}, task_id),
        ("docker.create", {}, task_id),
        ("docker.deploy", {}, str(uuid.uuid4())),
    ):
        kind, said = guarded.ours.refusal(task, task_id=own_id, signature=signature, **{**asked, **changed})
        assert (kind, "isn't signed by ci" in said) == ("PolicyDenied", True)
    assert guarded.containers() == []


@pytest.mark.parametrize(("seconds", "reason"), [(-90_000, "more than"), (600, "in the future")])
def test_a_signature_has_its_time(guarded, seconds, reason):
    task_id = str(uuid.uuid4())
    signature = guarded.ours.signer.signed("docker.list", task_id, {}, time=int(time.time()) + seconds)
    kind, said = guarded.ours.refusal("docker.list", task_id=task_id, signature=signature)
    assert (kind, reason in said) == ("PolicyDenied", True)


def test_a_message_that_comes_again_is_not_done_again(guarded, live):
    arguments, task_id = {"container": live["container_id"], "timeout": 0}, str(uuid.uuid4())
    signature = guarded.ours.signer.signed("docker.restart", task_id, arguments)
    started = guarded.ours.ask("docker.restart", task_id=task_id, signature=signature, **arguments)["started_at"]
    guarded.ours.send("docker.restart", task_id=task_id, signature=signature, **arguments)
    # Sent on to the same lane after it, so that the copy is dealt with by then.
    guarded.ours.ask("docker.connect", container=live["container_id"], network=guarded.installation.network)
    again = guarded.engine.inspect_container(live["container_id"])["State"]["StartedAt"]
    assert again[:23] == started[:23]
    assert guarded.client.AsyncResult(task_id).result["started_at"] == started


def test_who_knows_the_id_of_a_deployment_cannot_spoil_its_result(guarded, live):
    forged = guarded.send("docker.deploy", task_id=live["deployment_id"], **guarded.deployment("shop:v2"))
    guarded.ours.ask("docker.list")
    guarded.ours.ask("docker.list")
    assert forged.result == live


def test_nobody_stores_a_result_under_the_id_of_a_step(guarded):
    task_id = str(uuid.uuid4())
    for task in ("docker.deploy.pull", "docker.reconcile"):
        arguments = {"deployment_id": task_id} if task != "docker.reconcile" else {}
        guarded.client.send_task(task, kwargs=arguments, task_id=task_id, ignore_result=False)
    for _ in range(3):
        guarded.ours.ask("docker.list")
    assert guarded.client.AsyncResult(task_id).state == "PENDING"


def test_a_container_is_not_another_stages_because_its_deployment_had_the_same_id(guarded):
    """Who asks for something chooses its id, and could choose one that another is about to have."""
    task_id, theirs = str(uuid.uuid4()), {"project": "other", "stage": "staging", "image": guarded.image("shop:v2")}
    squatted = guarded.theirs.ask("docker.create", task_id=task_id, **theirs)["container_id"]
    guarded.client.backend.forget(task_id)
    live = guarded.ours.ask("docker.deploy", task_id=task_id, **guarded.deployment("shop:v1", force=True))
    assert live["container_id"] != squatted
    guarded.engine.remove_container(squatted, force=True)


def test_a_producer_touches_its_own_stages_alone(guarded, live):
    container = {"container": live["container_id"]}
    for task, arguments in {
        "docker.deploy": guarded.deployment("shop:v2"),
        "docker.create": guarded.deployment("shop:v2"),
        "docker.rollback": {"project": guarded.project, "stage": "staging"},
        "docker.stage": {"project": guarded.project, "stage": "staging", "action": "stop"},
        "docker.cancel": {"deployment_id": live["deployment_id"]},
        "docker.stop": container,
        "docker.start": container,
        "docker.restart": container,
        "docker.remove": {**container, "force": True},
        "docker.logs": container,
        "docker.connect": {**container, "network": guarded.installation.network},
        "docker.prune": {},
    }.items():
        kind, said = guarded.theirs.refusal(task, **arguments)
        assert (kind, "not the sender's to touch" in said) == ("PolicyDenied", True), (task, said)
    assert guarded.theirs.ask("docker.list", all=True)["containers"] == []
    assert [each["container_id"] for each in guarded.ours.ask("docker.list")["containers"]] == [live["container_id"]]
    assert [each["Id"] for each in guarded.containers()] == [live["container_id"]]


def test_dw_signs_what_it_sends_and_steps_and_reconciling_need_nobodys_signature(guarded):
    where = f"{guarded.project}/staging"
    unsigned = guarded.installation.dw("deploy", where, guarded.image("shop:v2"))
    assert unsigned.returncode != 0
    assert "isn't signed" in unsigned.stderr
    signed = guarded.installation.dw("deploy", where, guarded.image("shop:v2"), "--json", environment=guarded.root)
    assert json.loads(signed.stdout)["state"] == "live", signed.stderr
    assert guarded.installation.dw("prune", "--dry-run", environment=guarded.root).returncode == 0


def test_programs_in_python_and_node_sign_what_they_send(guarded, tmp_path):
    key = guarded.root["DW_SIGNING_KEY_FILE"]
    url = guarded.installation.redis_url
    with Client(url, producer="root", signing_key_file=key) as client:
        live = client.deploy(guarded.project, guarded.name, guarded.image("shop:v1")).result(60)
        assert [each.container_id for each in client.list(guarded.project)] == [live.container_id]
    asked = (guarded.project, guarded.name, guarded.image("shop:v2"), "registry")
    signed = run("deploy.js", tmp_path, *asked, DW_REDIS_URL=url, **guarded.root)
    assert signed.returncode == 0, signed.stderr
    assert live.container_id not in [each["Id"] for each in guarded.containers()]
    unsigned = run("deploy.js", tmp_path, *asked, DW_REDIS_URL=url)
    assert "PolicyDenied" in unsigned.stderr


def test_what_is_signed_is_kept_no_longer_than_its_signature_is_good(guarded, live):
    with redis.Redis.from_url(guarded.installation.redis_url, decode_responses=True) as connection:
        kept = list(connection.scan_iter(f"dw:{guarded.installation.namespace}:nonce:ci:*"))
        assert kept
        assert all(0 < connection.ttl(key) <= 86_401 for key in kept)
