"""A registry's password and a sealed variable are in clear nowhere but where they are used."""

import threading

import pytest
import redis
from cryptography.fernet import Fernet

CANARY = "canary-4f1e0c"


@pytest.fixture
def monitored(installation):
    """All that Redis is told while a test runs."""
    told, ended = [], threading.Event()

    def listen(monitor):
        # The worker's driver says something every second, so the last look is never long in coming.
        while not ended.is_set():
            told.append(str(monitor.next_command()))

    with redis.Redis.from_url(installation.redis_url) as connection, connection.monitor() as monitor:
        listener = threading.Thread(target=listen, args=(monitor,))
        listener.start()
        yield lambda: "\n".join(told)
        ended.set()
        listener.join()


def everything_in(redis_url):
    with redis.Redis.from_url(redis_url) as connection:
        return b"\n".join(connection.dump(key) or b"" for key in connection.scan_iter())


def test_secrets_are_in_clear_neither_in_redis_nor_logs_nor_results_nor_flower(stage, installation, monitored, flower):
    sealed = installation.dw("seal", f"{stage.project}/staging", "TOKEN", input=CANARY).stdout.strip()
    result = stage.deploy("shop:v1", secret_env={"TOKEN": sealed})
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9", secret_env={"TOKEN": sealed}))
    failed.get(timeout=30, propagate=False)
    environment = stage.engine.inspect_container(result["container_id"])["Config"]["Env"]
    assert f"TOKEN={CANARY}" in environment

    again = stage.deploy("shop:v2", secret_env={"TOKEN": sealed})
    pages = [f"/task/{again['deployment_id']}", f"/task/{failed.id}", "/tasks", "/api/tasks", "/api/workers"]
    stage.until(lambda: "SUCCESS" in flower(pages[0]) and "FAILURE" in flower(pages[1]))
    shown = "".join(flower(page) for page in pages)
    logs = "".join(path.read_text() for path in installation.folder.iterdir())
    described = str(stage.ask("docker.list", project=stage.project)) + str(
        stage.engine.inspect_container(again["container_id"])["Config"]["Labels"]
    )
    places = {
        "redis": everything_in(installation.redis_url).decode(errors="replace"),
        "monitor": monitored(),
        "logs": logs,
        "results": f"{result}{failed.result!r}{again}",
        "flower": shown,
        "list": described,
    }
    assert all(places.values())
    assert "credential" in places["monitor"] or "credentials" in places["redis"]
    for place, text in places.items():
        assert CANARY not in text, place
        assert installation.password not in text, place


def test_a_container_that_dies_telling_its_secret_tells_it_to_nobody(stage, installation, images):
    image = images("tattler", "v1", command=["/bin/busybox", "sh", "-c", "echo db is postgres://u:$TOKEN@db; exit 3"])
    sealed = installation.dw("seal", f"{stage.project}/staging", "TOKEN", input=CANARY).stdout.strip()
    error = stage.send("docker.deploy", **stage.deployment(image, secret_env={"TOKEN": sealed})).get(
        timeout=30, propagate=False
    )
    assert error.args[1]["logs"] == ["db is postgres://u:***@db"]
    assert "***" in error.args[0]
    assert CANARY.encode() not in everything_in(installation.redis_url)
    assert CANARY not in "".join(path.read_text() for path in installation.folder.iterdir())


def test_a_sealed_variable_does_not_open_in_another_stage(stage, installation):
    sealed = installation.dw("seal", "other/staging", "TOKEN", input=CANARY).stdout.strip()
    error = stage.send("docker.deploy", **stage.deployment("shop:v1", secret_env={"TOKEN": sealed})).get(
        timeout=30, propagate=False
    )
    assert type(error).__name__ == "CredentialMissing"
    assert "TOKEN" in error.args[0]
    assert stage.containers() == []


def test_keys_that_are_rotated_are_no_change(unserved_stage):
    stage, old = unserved_stage, unserved_stage.installation.environment["DW_KEYS"]

    def sealed(**keys):
        where = f"{stage.project}/{stage.name}"
        return {"TOKEN": stage.installation.dw("seal", where, "TOKEN", input=CANARY, environment=keys).stdout.strip()}

    stage.installation.add_credential()
    with stage.installation.worker(stage.client):
        first = stage.deploy("shop:v1", secret_env=sealed())
    rotated = {"DW_KEYS": f"{Fernet.generate_key().decode()},{old}"}
    with stage.installation.worker(stage.client, **rotated):
        for secrets in (sealed(), sealed(**rotated)):
            again = stage.deploy("shop:v1", secret_env=secrets)
            assert (again["state"], again["container_id"]) == ("unchanged", first["container_id"])
