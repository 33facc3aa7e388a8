"""Celery swallows a misspelt task option, and a task that nobody imports: both are looked for here."""

import pytest
from celery import Task

import tasks
from tasks.deploy.accept import Acceptance
from worker.celery import app
from worker.errors import SpecInvalid
from worker.orders import NUMBERED_TASKS
from worker.record import ON_FAILURE, ON_SUCCESS, Step

CONTRACT = {
    f"docker.{verb}"
    for verb in [
        "pull",
        "inspect",
        "ensure_network",
        "create",
        "connect",
        "start",
        "stop",
        "restart",
        "remove",
        "list",
        "logs",
        "deploy",
        "stage",
        "rollback",
        "cancel",
        "reconcile",
        "prune",
    ]
}
STEPS = {step.task for step in Step if step is not Step.ENDED}
OURS = {name: task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")}


def test_every_task_of_the_contract_and_every_step_is_registered():
    assert tasks
    assert set(OURS) == CONTRACT | STEPS


@pytest.mark.parametrize("task", OURS.values(), ids=OURS)
def test_every_task_is_acknowledged_late_and_takes_json_only(task):
    assert task.acks_late
    assert app.conf.accept_content == ["json"]
    options = {name for kind in type(task).__mro__ for name in vars(kind) if kind is not object}
    assert {name for name in vars(tasks.base.Operation) if not name.startswith("_")} <= options
    assert {name for name in vars(tasks.base.Operation) if not name.startswith("_")} <= set(vars(Task))


def test_what_asks_something_of_a_stage_is_numbered():
    assert {name for name, task in OURS.items() if isinstance(task, Acceptance)} == set(NUMBERED_TASKS)


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_unknown_arguments_are_refused_by_name(name):
    with pytest.raises(SpecInvalid, match="privileged: there is no such argument"):
        OURS[name].run(privileged=True)
    with pytest.raises(SpecInvalid, match="self: there is no such argument"):
        OURS[name](self="shop")


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_positional_arguments_are_refused(name):
    with pytest.raises(SpecInvalid, match="by its name"):
        OURS[name].run("shop")


def test_pauses_grow_are_jittered_and_bounded():
    rows = [[tasks.base.pause(attempt) for attempt in range(1, 12)] for _ in range(20)]
    for row in rows:
        assert all(0.5 * 2**number <= seconds <= 2**number for number, seconds in enumerate(row[:5]))
        assert max(row) <= 30
    assert len({row[0] for row in rows}) > 1


def test_every_step_leads_to_the_end():
    for step in Step:
        seen = []
        at = step
        while at not in {Step.REPORT, Step.ENDED}:
            assert at not in seen
            seen.append(at)
            at = ON_SUCCESS.get(at) or ON_FAILURE[at]
