"""How a task reads in Flower, and what is said of a message in lists."""

import copy
import json
import time

import pytest
from celery.events.state import State

from worker.consumer import title
from worker.flower import _Task, readable
from worker.monitors import of_contract
from worker.reference import short

WORKER = "one@test"


class Monitored(State):
    """Celery's own memory of what it was told, as Flower has it."""

    Task = _Task

    def __init__(self):
        super().__init__()
        self.told = 0

    def tell(self, event, **fields):
        self.told += 1
        at = fields.pop("at", time.time())
        self.event(
            {"type": event, "hostname": WORKER, "timestamp": at, "local_received": at, "clock": self.told, **fields}
        )

    def shown(self, task_id):
        return readable(copy.copy(self.tasks[task_id]))


@pytest.fixture
def state():
    made = Monitored()
    made.tell("worker-heartbeat", freq=2.0, pid=7)
    return made


def begin(state, task_id, name="docker.deploy.start", **fields):
    parent = None if task_id == "root" else "root"
    state.tell("task-received", uuid=task_id, name=name, root_id="root", parent_id=parent, pid=7, **fields)
    state.tell("task-started", uuid=task_id, pid=7, **fields)


def test_what_a_dead_worker_was_at_is_lost(state):
    begin(state, "step")
    assert state.shown("step").state == "STARTED"
    state.workers[WORKER].heartbeats[:] = [time.time() - 60]
    assert state.shown("step").state == "LOST"
    assert state.tasks["step"].state == "STARTED"


def test_what_another_process_of_its_name_was_at_is_lost(state):
    begin(state, "step")
    state.tell("worker-heartbeat", freq=2.0, pid=8)
    assert state.shown("step").state == "LOST"


def test_a_deployment_outlives_the_worker_that_accepted_it(state):
    begin(state, "root", name="docker.deploy")
    state.workers[WORKER].heartbeats[:] = [time.time() - 60]
    assert state.shown("root").state == "STARTED"


def test_what_describes_a_task_changes_nothing_else_of_it(state):
    begin(state, "root", name="docker.deploy")
    before = vars(state.tasks["root"]).copy()
    state.tell("task-sent", uuid="root", args="shop/staging acme/shop:1", result="step pull", at=1.0)
    after = state.tasks["root"]
    assert (after.state, after.started, after.received, after.worker.hostname) == (
        "STARTED",
        before["started"],
        before["received"],
        WORKER,
    )
    assert (after.args, after.result, after.sent) == ("shop/staging acme/shop:1", "step pull", 1.0)


def test_a_deployment_lists_its_steps_in_their_order(state):
    begin(state, "root", name="docker.deploy")
    for at, step in enumerate(("pull", "create", "start")):
        begin(state, step, at=time.time() + at)
    shown = state.shown("root")
    assert [child.id for child in shown.children] == ["pull", "create", "start"]
    assert shown.root_id is None
    assert state.shown("start").root_id == "root"


def test_a_result_is_easy_to_read(state):
    begin(state, "root", name="docker.deploy")
    state.tell("task-succeeded", uuid="root", result="{'ports': {'8080/tcp': 1}, 'health': None}", runtime=1)
    assert json.loads(state.shown("root").result) == {"ports": {"8080/tcp": 1}, "health": None}
    state.tell("task-succeeded", uuid="root", result="{'ports': {...", runtime=1)
    assert state.shown("root").result == "{'ports': {..."


@pytest.mark.parametrize(
    ("event", "exception", "told", "has_traceback"),
    [
        ("task-failed", "StartFailed: it failed.", "task-failed", False),
        ("task-failed", "DeploymentCancelled: it was cancelled.", "task-revoked", False),
        ("task-failed", "DeploymentSuperseded: a newer one runs.", "task-revoked", False),
        ("task-retried", "EngineUnavailable: it is away.", "task-retried", False),
        ("task-failed", "KeyError('x')", "task-failed", True),
    ],
)
def test_an_error_of_the_contract_has_no_traceback(event, exception, told, has_traceback):
    name, fields = of_contract(event, {"exception": exception, "traceback": "Traceback …"})
    assert (name, fields["exception"], bool(fields["traceback"])) == (told, exception, has_traceback)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            {"project": "shop", "stage": "staging", "image": "r.example:5000/acme/shop:1.4.2"},
            "shop/staging acme/shop:1.4.2",
        ),
        ({"project": "shop", "stage": "staging", "action": "stop"}, "shop/staging stop"),
        ({"deployment_id": "4630513a"}, "4630513a"),
        ({"project": "shop"}, "shop"),
        ({"project": {"not": "text"}, "image": 5}, ""),
        ({}, ""),
    ],
)
def test_a_message_is_called_by_what_it_is_about(shown, text):
    assert title(shown) == text


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("nginx", "nginx"),
        ("acme/shop:1", "acme/shop:1"),
        ("localhost/shop", "shop"),
        ("r.example/a/b:1@sha256:" + "0123456789abcdef" * 4, "a/b:1@sha256:0123456789ab"),
        ("", ""),
    ],
)
def test_an_image_is_called_by_its_repository_and_tag(image, text):
    assert short(image) == text
