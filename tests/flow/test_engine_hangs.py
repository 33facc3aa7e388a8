"""An engine that takes connections and answers nothing, as one whose disk stands still does."""

import json
import threading

import pytest
import redis

from tests.flow.conftest import served_through, until

LEASE = 11
HOST = "local"


@pytest.fixture
def hung(engine_proxy, second_redis_url, tmp_path, installation):
    """An installation whose worker is at work, and whose engine has just begun to hang."""
    # At its end the worker's threads wait still.
    changed = {"DW_LEASE_SECONDS": str(LEASE), "DW_SHUTDOWN_SECONDS": "1"}
    with served_through(engine_proxy, second_redis_url, tmp_path, installation, **changed) as (another, _):
        until(lambda: state_of_host(another) == "there")
        engine_proxy.fault = "silent"
        yield another
        engine_proxy.fault = ""


def state_of_host(installation):
    found = json.loads(installation.dw("hosts", "--json").stdout)["hosts"]
    return {each["host"]: each["state"] for each in found}.get(HOST)


def test_its_host_is_there_for_others_and_without_an_engine(hung):
    with redis.Redis.from_url(hung.redis_url, decode_responses=True) as connection:
        prefix = f"dw:{hung.namespace}:"

        def silent_for():
            return connection.time()[0] - connection.zscore(f"{prefix}hosts:seen", HOST)

        def has_engine():
            return json.loads(connection.hget(f"{prefix}hosts", HOST))["engine"] is not None

        while has_engine():
            assert silent_for() < LEASE
        # And so it stays.
        for _ in range(2 * LEASE):
            threading.Event().wait(0.5)
            assert silent_for() < LEASE
            assert not has_engine()
    checks = json.loads(hung.dw("doctor", "--json").stdout)["checks"]
    said = {each["check"]: each for each in checks if each["host"] == HOST and each["status"] == "fail"}
    assert "the engine doesn't answer in time" in said["engine"]["message"]
    assert "host" not in said
