"""Whatever is written to the queue, it is refused at the door, its caller is told, and the worker goes on."""

import base64
import gzip
import json
import pickle
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import redis

from tests.flow.envelope import QUEUE, message


@pytest.fixture
def push(installation, stage):
    """Write to the queue, and see that the same worker goes on, and keeps nothing of it."""
    with redis.Redis.from_url(installation.redis_url) as connection:
        yield lambda raw: connection.lpush(QUEUE, raw)
        for _ in range(3):
            stage.ask("docker.list")
        stage.until(lambda: not connection.llen(QUEUE) and not connection.hlen("dw.unacked"))


def refusal(stage, task_id):
    error = stage.client.AsyncResult(task_id).get(timeout=30, propagate=False)
    return type(error).__name__, str(error)


BOMB = gzip.compress(bytes(500_000_000), compresslevel=1)[:900_000]

BODIES = {
    "no JSON": b"{",
    "nothing": b"",
    "a number": b"42",
    "a text": b'"docker.deploy"',
    "two parts": b"[[], {}]",
    "arguments in the wrong places": b"[{}, [], {}]",
    "a workflow of nonsense": b'[[], {}, {"chain": 5}]',
    "a workflow": b'[[], {}, {"errbacks": [{"task": "docker.prune", "kwargs": {}}]}]',
    "what kombu makes an object of": b'[[], {"labels": {"__type__": "uuid", "__value__": {"hex": "no"}}}, {}]',
    "an object that is no embedding": b'[[], {}, {"__type__": "uuid", "__value__": {"hex": "' + 32 * b"0" + b'"}}]',
    "a callback of nonsense": b'[[], {}, {"callbacks": ["x"]}]',
    "lists in lists": b"[" * 50_000 + b"]" * 50_000,
    "objects in objects": b'[[], {"labels": ' + b'{"a": ' * 30 + b"1" + b"}" * 31 + b", {}]",
    "bytes that are no text": b"\xff\xfe\x00",
    "JSON in UTF-16": "[[], {}, {}]".encode("utf-16"),
    "code": pickle.dumps(print),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_no_task_can_read_is_refused(stage, push, body):
    task_id, raw = message(body)
    push(raw)
    assert refusal(stage, task_id)[0] == "SpecInvalid"


HEADERS = {
    "an unknown task": {"task": "docker.exec"},
    "a task of another kind": {"task": 5},
    "a task with a line's end": {"task": "docker.list\n"},
    "Celery's own map": {"task": "celery.map"},
    "Celery's own chain": {"task": "celery.chain"},
    "Celery's own cleaning": {"task": "celery.backend_cleanup"},
    "Python": {"task": "os.system"},
    "times of another kind": {"timelimit": 5},
    "times that are none": {"timelimit": ["x", "y"]},
    "an expiry of another kind": {"expires": {"a": 1}},
    "a time of another kind": {"eta": [1]},
    "retries of another kind": {"retries": "many"},
    "a root of another kind": {"root_id": {}},
    "a group of another kind": {"group": [[]]},
    "a signature of another kind": {"dw_signature": "signed"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_that_are_not_celerys_are_refused(stage, push, headers):
    task_id, raw = message(headers=headers)
    push(raw)
    assert refusal(stage, task_id)[0] == "SpecInvalid"


WHOLE = {
    "pickle": {"content-type": "application/x-python-serialize", "body": base64.b64encode(pickle.dumps([])).decode()},
    "YAML": {"content-type": "application/x-yaml"},
    "no kind": {"content-type": None},
    "another coding": {"content-encoding": "zip"},
    "a coding of another kind": {"content-encoding": ["utf-8"]},
    "a bomb": {"body": base64.b64encode(BOMB).decode(), "headers": {"compression": "application/x-gzip"}},
}


@pytest.mark.parametrize("changed", WHOLE.values(), ids=WHOLE)
def test_what_is_not_plain_json_is_refused(stage, push, changed):
    task_id, raw = message(**changed)
    push(raw)
    assert refusal(stage, task_id)[0] == "SpecInvalid"


@pytest.mark.parametrize(
    "raw", ["", "nonsense", "{}", "[]", "5", '{"properties": {"delivery_tag": "x"}}', "[" * 100_000]
)
def test_what_is_no_message_at_all_is_set_aside(push, raw):
    push(raw)


def test_a_time_that_is_none_or_far_is_refused(stage, push):
    for headers in (
        {"eta": "2099-01-01T00:00:00"},
        {"eta": "9999-12-31T23:59:59-23:59"},
        {"expires": "9999-12-31T23:59:59-23:59"},
        {"eta": "yesterday"},
        {"expires": "never"},
        {"eta": "2026-99-99T00:00:00"},
    ):
        task_id, raw = message(headers=headers)
        push(raw)
        assert refusal(stage, task_id)[0] == "SpecInvalid"


def test_a_message_too_deep_beside_its_body_is_set_aside(push):
    whole = json.loads(message()[1])
    deep = json.dumps({**whole, "properties": {**whole["properties"], "more": "DEEP"}})
    push(deep.replace('"DEEP"', "[" * 900 + "]" * 900))


def test_messages_that_share_a_tag_are_each_one_or_none(stage, push, installation):
    task_id, raw = message(headers={"eta": (datetime.now(UTC) + timedelta(seconds=4)).isoformat()})
    push(raw)
    stage.until(lambda: tags(installation))
    push(raw)
    assert stage.client.AsyncResult(task_id).get(timeout=30)["containers"] is not None


def tags(installation):
    with redis.Redis.from_url(installation.redis_url) as connection:
        return connection.hkeys("dw.unacked")


def test_a_sender_does_not_say_which_lane_its_message_is_of(stage, push, installation):
    task_id, raw = message(json.dumps([[], {"network": installation.network}, {}]).encode())
    whole = json.loads(raw)
    whole["headers"]["task"] = "docker.ensure_network"
    whole["properties"]["delivery_info"]["routing_key"] = "elsewhere"
    push(json.dumps(whole))
    assert stage.client.AsyncResult(task_id).get(timeout=30)["network"] == installation.network
    log = "".join(path.read_text() for path in installation.folder.glob("worker-*"))
    # Received twice: from the queue that all know, and from the lane that it belongs to.
    assert log.count(f"docker.ensure_network[{task_id}] received") == 2


def test_a_huge_message_never_leaves_redis_and_its_caller_is_told(stage, push, installation):
    task_id, raw = message(json.dumps([[], {"labels": {"a": "x" * 20_000_000}}, {}]).encode())
    push(raw)
    kind, said = refusal(stage, task_id)
    assert (kind, "DW_MESSAGE_BYTES" in said) == ("SpecInvalid", True)
    with redis.Redis.from_url(installation.redis_url) as connection:
        assert sum(connection.memory_usage(key) or 0 for key in connection.scan_iter("dw.*")) < 1_000_000


def test_a_huge_message_under_the_id_of_a_deployment_does_not_spoil_its_result(stage, push):
    live = stage.deploy("shop:v1")
    push(message(json.dumps(["x" * 2_000_000]).encode(), headers={"id": live["deployment_id"]})[1])
    push(message(b"{", headers={"id": live["deployment_id"]})[1])
    for _ in range(3):
        stage.ask("docker.list")
    assert stage.client.AsyncResult(live["deployment_id"]).result == live


OTHER = "the id of another message"
WORKFLOWS = {
    "a chain": {"chain": [{"task": "docker.list", "options": {"task_id": OTHER}}]},
    "a callback": {"callbacks": [{"task": "docker.list", "args": [], "kwargs": {}, "options": {}}]},
    "an errback that is none": {"errbacks": [{"a": 1}]},
    "a chord": {"chord": {"task": "docker.list", "args": [], "kwargs": {}, "options": {}}},
}


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_a_workflow_is_refused_and_stores_nothing_under_anothers_id(stage, push, workflow):
    other = stage.send("docker.list", project=stage.project)
    listed = other.get(timeout=30)
    # Which fails, so that Celery would have what comes after it fail as well.
    body = json.dumps([[], {"privileged": True}, workflow]).replace(OTHER, other.id)
    task_id, raw = message(body.encode())
    push(raw)
    kind, said = refusal(stage, task_id)
    assert (kind, "workflow" in said) == ("SpecInvalid", True)
    assert stage.client.AsyncResult(other.id).result == listed


def test_a_client_of_the_first_protocol_is_understood(stage, push):
    task_id = str(uuid.uuid4())
    body = {"task": "docker.list", "id": task_id, "args": [], "kwargs": {"project": stage.project}, "retries": 0}
    whole = json.loads(message(json.dumps(body).encode())[1])
    push(json.dumps({**whole, "headers": {}}))
    assert stage.client.AsyncResult(task_id).get(timeout=30) == {"containers": []}


def test_events_and_flower_show_what_a_message_is_about_and_no_more(stage, push):
    seen = []
    with stage.client.connection() as connection:
        receiver = stage.client.events.Receiver(connection, handlers={"task-received": seen.append})
        task_id = str(uuid.uuid4())
        kwargs = {"project": stage.project, "labels": {"team": "canary-91c2"}}
        _, raw = message(
            json.dumps([[], kwargs, {}]).encode(),
            headers={"id": task_id, "kwargsrepr": repr(kwargs), "argsrepr": "canary-91c2"},
        )
        for turn, _ in enumerate(receiver.itercapture(limit=None, timeout=30, wakeup=False)):
            if turn == 0:
                push(raw)
            if any(each["uuid"] == task_id for each in seen):
                break
    (event,) = (each for each in seen if each["uuid"] == task_id)
    assert event["kwargs"] == repr({"project": stage.project})
    assert "canary-91c2" not in str(event)
