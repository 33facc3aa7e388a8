"""What `dw --json` prints has the keys that docs/dw.md promises."""

import json

import pytest

from docs.commands import OBJECTS
from tests.flow.conftest import until


@pytest.fixture
def printed(installation):
    """Runs a command; its name as the page has it, and its object."""

    def run(*arguments, status=0, **options):
        ended = installation.dw(*arguments, "--json", **options)
        assert ended.returncode == status, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    return run


def check(command, value):
    promised = OBJECTS[command]
    assert value.keys() == promised.keys(), command
    for key, inner in promised.items():
        if inner:
            assert value[key], f"{command}: {key} is empty"
            assert all(each.keys() == set(inner) for each in value[key]), (command, value[key][0].keys())


def test_each_command_prints_the_keys_that_are_promised(stage, printed, installation):
    where = f"{stage.project}/staging"
    check("deploy", printed("deploy", where, stage.image("shop:v1")))
    check("deploy", printed("deploy", where, stage.image("shop:v2")))
    check("rollback", printed("rollback", where))
    check("history", printed("history", where))
    check("ps", printed("ps", where))
    check("logs", printed("logs", where))
    check("restart", printed("restart", where))
    check("stop", printed("stop", where))
    check("rm", printed("rm", where))
    sent = printed("deploy", where, stage.image("shop:v1"), "--no-wait")
    check("deploy --no-wait", sent)
    until(lambda: stage.client.AsyncResult(sent["deployment_id"]).state == "SUCCESS")
    check("cancel", printed("cancel", sent["deployment_id"], status=1))
    check("hosts", printed("hosts"))
    check("drain", printed("drain", "local", "--end"))
    check("prune", printed("prune", "--dry-run"))
    check("seal", printed("seal", where, "TOKEN", input="hunter2"))
    check("rekey", printed("rekey"))
    given = ("--registry", "registry.example.com", "--username", "me", "--password-stdin")
    check("credential add", printed("credential", "add", "passing", *given, input="x"))
    check("credential list", printed("credential", "list"))
    check("credential rm", printed("credential", "rm", "passing"))
    check("doctor", printed("doctor"))


def test_a_forgotten_host_and_an_error_are_objects_too(printed, stage, unserved_stage):
    ours = unserved_stage.installation

    def state():
        told = json.loads(ours.dw("hosts", "--json").stdout)["hosts"]
        return {each["host"]: each["state"] for each in told}.get("gone")

    with ours.worker(unserved_stage.client, DW_HOST="gone") as worker:
        until(lambda: state() == "there")
        worker.kill()
        worker.wait()
    until(lambda: state() == "away")
    check("forget", json.loads(ours.dw("forget", "gone", "--json").stdout))
    error = printed("rollback", f"{stage.project}/nothing", status=1)["error"]
    assert error.keys() == {"type", "message", "facts", "hint"}
