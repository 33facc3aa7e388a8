"""`dw doctor`: what an operator is told at three in the morning, and what is to be done."""

import json

import pytest
import redis
from cryptography.fernet import Fernet

from tests.flow.conftest import until


@pytest.fixture
def doctor(stage, installation):
    """Runs it; gives the exit status, and what was found by check."""

    def run(*arguments, **changed):
        ended = installation.dw("doctor", "--json", *arguments, environment=changed)
        assert ended.stderr == ""
        told = json.loads(ended.stdout)
        assert told["ok"] is (ended.returncode == 0)
        found = {}
        for each in told["checks"]:
            assert each.keys() == {"check", "status", "message", "hint", "host"}
            assert "\n" not in each["message"]
            assert each["status"] == "ok" or each["hint"], each
            found.setdefault(each["check"], []).append(each)
        return ended.returncode, found

    return run


@pytest.fixture
def store(installation):
    """The installation's Redis itself, and what its keys begin with."""
    with redis.Redis.from_url(installation.redis_url, decode_responses=True) as connection:
        yield connection, f"dw:{installation.namespace}:"


def failing(found):
    return {check for check, all_of_it in found.items() if any(each["status"] == "fail" for each in all_of_it)}


def test_all_is_well(doctor, stage, installation):
    stage.deploy("shop:v1")
    code, found = doctor()
    assert code == 0, found
    assert found.keys() >= {"redis", "persistence", "memory", "workers", "versions", "host", "engine", "network"}
    assert found.keys() >= {"clock", "disk", "answers", "queues", "keys", "credentials", "deployments"}
    assert {each["status"] for each in found["answers"]} == {"ok"}
    shown = installation.dw("doctor")
    assert shown.returncode == 0
    assert "0 fail" in shown.stdout


def test_a_redis_that_is_away_is_all_that_can_be_told(doctor):
    code, found = doctor(DW_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert found.keys() == {"redis"}
    assert "DW_REDIS_URL" in found["redis"][0]["hint"]


def test_without_a_worker_it_says_how_to_start_one(doctor, second_redis_url):
    code, found = doctor(DW_REDIS_URL=second_redis_url, DW_NAMESPACE="nobodys")
    assert code == 1
    assert failing(found) == {"workers", "hosts"}
    assert "celery -A worker worker" in found["workers"][0]["hint"]


def test_a_host_that_is_away_and_what_waits_for_it(doctor, stage, store, client):
    connection, prefix = store
    told = connection.hget(f"{prefix}hosts", "local")
    connection.hset(f"{prefix}hosts", "gone", told)
    connection.zadd(f"{prefix}hosts:seen", {"gone": 1})
    sent = stage.send("docker.deploy", **stage.deployment("shop:v1", host="gone"))
    until(lambda: sent.state == "PROGRESS")
    connection.lpush(f"dw.{prefix.split(':')[1]}.gone", "{}")
    try:
        code, found = doctor()
    finally:
        connection.delete(f"dw.{prefix.split(':')[1]}.gone")
        stage.ask("docker.cancel", deployment_id=sent.id)
        stage.installation.dw("forget", "gone")
        sent.get(timeout=30, propagate=False)
    assert code == 1
    assert failing(found) == {"host", "queues"}
    (away,) = (each for each in found["host"] if each["host"] == "gone")
    assert "dw forget gone" in away["hint"]
    (waits,) = (each for each in found["deployments"] if each["host"] == "gone")
    assert f"dw cancel {sent.id}" in waits["hint"]
    assert waits["status"] == "warn"


def test_keys_that_are_not_the_workers_and_a_credential_that_does_not_open(doctor, installation):
    other = Fernet.generate_key().decode()
    code, found = doctor(DW_KEYS=other)
    assert code == 1
    assert failing(found) == {"credentials"}
    assert found["keys"][0]["status"] == "warn"
    assert "dw credential add registry" in found["credentials"][0]["hint"]
    code, found = doctor(DW_KEYS="")
    assert code == 0
    assert {each["status"] for each in (*found["keys"], *found["credentials"])} == {"warn"}


def test_a_redis_that_would_forget(doctor, store):
    connection, _ = store
    before = {name: connection.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy", "appendonly")}
    connection.config_set("maxmemory", "1gb")
    connection.config_set("maxmemory-policy", "allkeys-lru")
    connection.config_set("appendonly", "no")
    try:
        code, found = doctor()
    finally:
        for name, value in before.items():
            connection.config_set(name, value)
    assert code == 1
    assert failing(found) == {"memory"}
    assert found["persistence"][0]["status"] == "warn"
    assert "noeviction" in found["memory"][0]["hint"]


def test_an_engine_that_is_away_is_told_by_its_worker(unserved_stage):
    ours = unserved_stage.installation
    with ours.worker(unserved_stage.client, DOCKER_HOST="unix:///nonexistent/docker.sock"):
        until(lambda: '"no engine"' in ours.dw("hosts", "--json").stdout)
        ended = ours.dw("doctor", "--json", "--answer-timeout", "0.5")
    assert ended.returncode == 1
    (engine,) = (each for each in json.loads(ended.stdout)["checks"] if each["check"] == "engine")
    assert "/nonexistent/docker.sock" in engine["message"] or "Connecting to the engine failed" in engine["message"]
    assert "DOCKER_HOST" in engine["hint"]
    (answers,) = (each for each in json.loads(ended.stdout)["checks"] if each["check"] == "answers")
    assert answers["hint"] == "see the line on its engine"
