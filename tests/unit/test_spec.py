"""Wrong arguments are refused by the name of their field, whatever they hold."""

import pytest

from worker.errors import SpecInvalid
from worker.spec import ACCEPTED, LIVE_BEFORE, DeploymentSpec, StageOrder, parse

GOOD = {"project": "shop", "stage": "staging", "image": "acme/shop:1"}

WRONG = [
    ({"project": None}, "project"),
    ({"project": "my shop"}, "project"),
    ({"project": "../shop"}, "project"),
    ({"project": "shop\n"}, "project"),
    ({"project": "a" * 300}, "project"),
    ({"project": 7}, "project"),
    ({"stage": ""}, "stage"),
    ({"image": "acme/shop:"}, "image"),
    ({"image": ""}, "image"),
    ({"image": "acme/shop:1\n"}, "image"),
    ({"policy": "never"}, "policy"),
    ({"ports": {"8080/tcp": 70000}}, "ports.8080/tcp"),
    ({"ports": {"8080/tcp": "18080"}}, "ports.8080/tcp"),
    ({"ports": {"70000/tcp": None}}, "ports"),
    ({"ports": {"8080": None}}, "ports.8080"),
    ({"labels": {"docker-watcher.project": "other"}}, "labels"),
    ({"env": {"A=B": "c"}}, "env.A=B"),
    ({"env": {"A": 1}}, "env.A"),
    ({"env": {"A": "b\0"}}, "env.A"),
    ({"volumes": {"/etc": "/etc"}}, "volumes./etc"),
    ({"volumes": {"data": "/data:rshared"}}, "volumes.data"),
    ({"volumes": {"data": "/"}}, "volumes.data"),
    ({"volumes": {"data": "/.."}}, "volumes.data"),
    ({"volumes": {"data": "/a/../.."}}, "volumes.data"),
    ({"volumes": {"data": "data"}}, "volumes.data"),
    ({"volumes": {"data": {"path": "/data", "mode": "ro"}}}, "volumes.data.mode"),
    ({"ports": {"8080/tcp": True}}, "ports.8080/tcp"),
    ({"ports": {"8080/tcp": "kept"}}, "ports.8080/tcp"),
    ({"strategy": "all-at-once"}, "strategy"),
    ({"cutover": {"url": "file:///etc/passwd"}}, "cutover.url"),
    ({"cutover": {"url": "http://me:mine@proxy/"}}, "cutover.url"),
    ({"cutover": {"url": "http://proxy/\nHost: other"}}, "cutover.url"),
    ({"cutover": {"url": "http://proxy:port/"}}, "cutover.url"),
    ({"cutover": {"url": "http://proxy/", "timeout": 0}}, "cutover.timeout"),
    ({"stop_timeout": -1}, "stop_timeout"),
    ({"init": 1}, "init"),
    ({"network": "host"}, "network"),
    ({"cpus": 1e-10}, "cpus"),
    ({"restart": "sometimes"}, "restart"),
    ({"user": "root; rm"}, "user"),
    ({"memory": 1024}, "memory"),
    ({"memory": 10**400}, "memory"),
    ({"pids": 2**63}, "pids"),
    ({"keep": 0}, "keep"),
    ({"timeout": -1}, "timeout"),
    ({"timeout": float("nan")}, "timeout"),
    ({"health": {"timeout": 0}}, "health.timeout"),
    ({"health": {"sable": 1}}, "health.sable"),
    ({"host": "no/where"}, "host"),
    ({"privileged": True}, "privileged"),
    ({"env": {"DB_PASSWORD": "hunter2"}}, "env.DB_PASSWORD"),
    ({"env": {"DATABASE": "postgres://me:hunter2@db/shop"}}, "env.DATABASE"),
    ({"labels": {"com.example.api-key": "hunter2"}}, "labels.com.example.api-key"),
    ({"labels": {"com.example.url": "https://me:hunter2@example.com"}}, "labels.com.example.url"),
    ({"env": {"A": "1"}, "secret_env": {"A": "x"}}, "arguments"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_a_wrong_argument_is_refused_by_name(wrong, field):
    with pytest.raises(SpecInvalid) as caught:
        parse(DeploymentSpec, "docker.deploy", {**GOOD, **wrong})
    assert any(name.startswith(field) for name in caught.value.facts["fields"])
    assert field.split(".")[0] in caught.value.message


def test_a_missing_argument_is_refused_by_name():
    with pytest.raises(SpecInvalid, match="project: is missing; stage: is missing"):
        parse(DeploymentSpec, "docker.deploy", {"image": "acme/shop:1"})


def test_an_error_repeats_no_value():
    with pytest.raises(SpecInvalid) as caught:
        parse(DeploymentSpec, "docker.deploy", {**GOOD, "password": "hunter2", "env": {"A": ["hunter2"]}})
    assert "hunter2" not in str(caught.value.args)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "action: is missing"),
        ({"action": "start"}, "action"),
        ({"action": "stop", "timeout": -1}, "timeout"),
        ({"action": "stop", "timeout": 1.5}, "timeout"),
        ({"action": "stop", "force": True}, "force"),
        ({"action": "stop", "image": "acme/shop:1"}, "image: there is no such argument"),
    ],
)
def test_wrong_orders_to_a_stage_are_refused(arguments, field):
    with pytest.raises(SpecInvalid, match=field):
        parse(StageOrder, "docker.stage", {"project": "shop", "stage": "staging", **arguments})


def test_what_looks_like_a_secret_is_refused_without_being_repeated():
    with pytest.raises(SpecInvalid) as caught:
        parse(DeploymentSpec, "docker.deploy", {**GOOD, "env": {"DB_PASSWORD": "hunter2"}})
    reason = "looks like a secret: seal it with dw seal and give it in secret_env"
    assert caught.value.facts["fields"] == {"env.DB_PASSWORD": reason}
    assert "hunter2" not in str(caught.value.args)


@pytest.mark.parametrize("context", [ACCEPTED, LIVE_BEFORE])
def test_what_was_taken_before_is_not_refused_when_it_is_read_back(context):
    env = {"DB_PASSWORD": "hunter2", "DATABASE": "postgres://me:hunter2@db/shop"}
    asked = {**GOOD, "env": env, "labels": {"api-key": "hunter2"}}
    assert parse(DeploymentSpec, "docker.rollback", asked, context).env == env


def test_good_arguments_are_taken():
    spec = parse(DeploymentSpec, "docker.deploy", {**GOOD, "ports": {"8080/tcp": None}, "timeout": 60})
    assert (spec.project, spec.ports, spec.timeout) == ("shop", {"8080/tcp": None}, 60)
