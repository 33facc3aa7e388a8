"""Wrong arguments end as SpecInvalid, through a real worker, before the engine is touched."""

import time

import pytest

CASES = [
    ({"image": None}, "image"),
    ({"project": "my shop"}, "project"),
    ({"project": "../shop"}, "project"),
    ({"project": "a" * 300}, "project"),
    ({"stage": 7}, "stage"),
    ({"image": "acme/shop:"}, "image"),
    ({"ports": {"8080/tcp": 70000}}, "ports"),
    ({"labels": {"docker-watcher.project": "other"}}, "labels"),
    ({"privileged": True}, "privileged"),
]


@pytest.mark.parametrize("task", ["docker.deploy", "docker.create"])
def test_a_wrong_argument_is_named_and_the_engine_is_not_touched(stage, task):
    since = time.time()
    for wrong, field in CASES:
        error = stage.send(task, **{**stage.deployment("shop:v1"), **wrong}).get(timeout=30, propagate=False)
        assert type(error).__name__ == "SpecInvalid", wrong
        assert field in error.args[0]
        assert any(name.startswith(field) for name in error.args[1]["fields"])
    ours = {"label": f"docker-watcher.project={stage.project}"}
    happened = stage.engine.events(since=int(since), until=int(time.time()) + 1, filters=ours, decode=True)
    assert list(happened) == []


def test_a_missing_argument_is_named(stage):
    error = stage.send("docker.deploy", image="acme/shop:v1").get(timeout=30, propagate=False)
    assert type(error).__name__ == "SpecInvalid"
    assert {"project", "stage"} <= set(error.args[1]["fields"])
