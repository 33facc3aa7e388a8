"""The judge of `make chaos` finds what it is there to find."""

import json

import pytest

from tests.chaos.orders import Order
from tests.chaos.scene import Scene
from tests.chaos.verdict import judge

FIRST = Order("first", "stage0", "good:v1", 0)
SECOND = Order("second", "stage0", "good:v2", 0)
BROKEN = Order("broken", "stage0", "exits:v1", 0)
OUTAGE = (100.0, 110.0)


def container(order, state="running", **more):
    labels = {"docker-watcher.stage": order.stage, "docker-watcher.deployment-id": order.id}
    return {
        "Id": f"container of {order.id}",
        "Name": f"/{order.id}",
        "State": {"Status": state},
        "Config": {"Labels": labels},
        "HostConfig": {"RestartPolicy": {"Name": "always"}},
        "NetworkSettings": {"Networks": {"net": {"Aliases": [order.stage]}}},
        **more,
    }


def succeeded(order):
    value = {"state": "live", "container_id": f"container of {order.id}", "container_name": order.id}
    return {"status": "SUCCESS", "result": {**value, "instance_id": order.id}}


def failed(kind, **facts):
    return {"status": "FAILURE", "result": {"exc_type": kind, "exc_message": ["…", facts]}}


def record(order, error="", **more):
    return {"step": "ended", "order": order, "created": 1, "ended": 2, "error": error and error_of(error), **more}


def error_of(kind):
    return json.dumps({"type": kind})


def scene(**changed):
    """Two versions and a broken one, of which the second is live."""
    foreign = {"State": {"Status": "running"}, "RestartCount": 0}
    seen = Scene(
        **{
            "records": {"first": record(1), "second": record(2), "broken": record(3, "StartFailed")},
            "results": {
                "first": succeeded(FIRST),
                "second": succeeded(SECOND),
                "broken": failed("StartFailed"),
            },
            "containers": [container(SECOND)],
            "foreign": [foreign, foreign],
            "stages": {"shop/stage0": {"newest": "broken"}},
            **changed,
        }
    )
    for deployment_id, each in seen.records.items():
        each.setdefault("found", json.dumps({"container_id": f"container of {deployment_id}"}))
    return seen


def breaches(seen, outages=()):
    return [each.kind for each in judge([FIRST, SECOND, BROKEN], seen, outages)]


def changed(field, **values):
    return scene(**{field: {**getattr(scene(), field), **values}})


def test_what_is_right_is_no_breach():
    assert breaches(scene()) == []


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (scene(records={}), "lost"),
        (changed("records", first=record(1, step="prove")), "stuck"),
        (changed("records", second=record(2, "Unhealthy")), "wrong"),
        (changed("results", broken=succeeded(BROKEN)), "wrong"),
        (changed("records", first=record(5)), "orphans"),
        (scene(containers=[container(SECOND), container(FIRST)]), "orphans"),
        (scene(containers=[container(SECOND), container(SECOND, Id="another")]), "duplicates"),
        (scene(containers=[]), "wrong"),
        (scene(containers=[container(SECOND, state="exited")]), "wrong"),
        (scene(containers=[container(SECOND, Name="/second-3f2a")]), "wrong"),
        (scene(stages={"shop/stage0": {"running": "first"}}), "stuck"),
        (scene(alarms=["first"]), "stuck"),
        (scene(messages={"unacked": ["docker.deploy"]}), "stuck"),
        (scene(foreign=[]), "wrong"),
    ],
)
def test_each_breach_is_found(seen, kind):
    assert kind in breaches(seen)


def test_a_container_may_have_been_made_anew():
    made_anew = record(2, found=json.dumps({"container_id": "another"}))
    seen = changed("records", second=made_anew)
    assert set(breaches(seen)) == {"wrong", "orphans"}
    seen.containers = [container(SECOND, Id="another")]
    assert breaches(seen) == []


def superseded(by):
    """As if the first one had waited when that one came."""
    seen = changed("records", first=record(2.5, "DeploymentSuperseded"))
    seen.results["first"] = failed("DeploymentSuperseded", by=by)
    return seen


def test_only_a_newer_one_supersedes():
    assert breaches(superseded("broken")) == []
    assert breaches(superseded("second")) == ["wrong"]


def test_a_good_image_fails_only_with_the_engine():
    seen = scene(containers=[container(FIRST)])
    seen.records["second"] = record(2, "StartFailed", created=99, ended=120)
    seen.results["second"] = failed("StartFailed")
    assert breaches(seen, [OUTAGE]) == []
    assert breaches(seen, [(200, 210)]) == ["wrong"]
