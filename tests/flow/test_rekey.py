"""`dw rekey`: keys are rotated while deployments go on, and nobody notices."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from cryptography.fernet import Fernet

from worker.keyring import Keyring, variable_purpose
from worker.store import Credential, Credentials

CREDENTIALS = 200
SECRET = "rotated-5be1"


@pytest.fixture
def rotation(unserved_stage):
    """A stage, its keys before and after, and as many credentials as an installation may have."""
    old, new = unserved_stage.installation.environment["DW_KEYS"], Fernet.generate_key().decode()
    unserved_stage.installation.add_credential()
    with stored(unserved_stage.installation) as credentials:
        for number in range(CREDENTIALS - 1):
            name = f"other-{number:03}"
            credentials.add(Credential.seal(Keyring([old]), name, "registry.example.com", "me", f"password {name}"))
    return unserved_stage, old, new


@contextlib.contextmanager
def stored(installation):
    with redis.Redis.from_url(installation.redis_url, decode_responses=True) as connection:
        yield Credentials(connection, f"dw:{installation.namespace}:")


def seal(stage, where, key):
    return {"TOKEN": Keyring([key]).seal(SECRET, variable_purpose(stage.project, where, "TOKEN"))}


def rekey(stage, **keys):
    ended = stage.installation.dw("rekey", "--json", "--answer-timeout", "60", environment=keys)
    return ended.returncode, json.loads(ended.stdout)


def killed_in_the_middle(stage, new, **keys):
    """Run it until some credentials are sealed anew, and end it with SIGKILL."""
    command = [Path(sys.executable).with_name("dw"), "rekey"]
    with stored(stage.installation) as credentials:
        with subprocess.Popen(command, env={**stage.installation.environment, **keys}) as process:
            watched = f"other-{CREDENTIALS // 8:03}"
            stage.until(lambda: Keyring([new]).is_current(credentials.resolve("registry.example.com", watched).sealed))
            os.kill(process.pid, 9)
        return sum(Keyring([new]).is_current(each.sealed) for each in credentials.list())


def test_keys_are_rotated_under_running_deployments(rotation, record_property):
    stage, old, new = rotation
    both = {"DW_KEYS": f"{new},{old}"}
    ended, done = threading.Event(), []

    def deploy_again_and_again(name):
        while not ended.is_set():
            for tag in ("v1", "v2"):
                given = {"stage": name, "secret_env": seal(stage, name, old), "credential": "registry", "force": True}
                result = stage.send("docker.deploy", **stage.deployment(f"shop:{tag}", **given))
                done.append(result.get(timeout=90, propagate=False))

    with stage.installation.worker(stage.client, **both):
        threads = [threading.Thread(target=deploy_again_and_again, args=(name,)) for name in ("one", "two")]
        for each in threads:
            each.start()
        stage.until(lambda: len(done) >= 2, 60)
        sealed_anew = killed_in_the_middle(stage, new, **both)
        status, first = rekey(stage, **both)
        ended.set()
        for each in threads:
            each.join()
        assert 0 < sealed_anew < CREDENTIALS
        # A killed run has done what it has done: the next one does the rest.
        rest = {"renewed": CREDENTIALS - sealed_anew, "untouched": sealed_anew, "unopened": []}
        assert (status, first["credentials"]) == (0, rest)
        assert first["variables"]["renewed"] > 0
        assert [each for each in done if not isinstance(each, dict)] == []
        # What has come since then, sealed with the old key, is in records and in labels.
        status, second = rekey(stage, **both)
        assert (status, second["credentials"]["untouched"]) == (0, CREDENTIALS)
        # The last one of a stage may have been accepted before its record was sealed anew, and made after that.
        assert len(of_this(stage, second)) <= 2
        stage.deploy("shop:v1", stage="one", secret_env=seal(stage, "one", new), force=True)
        status, third = rekey(stage, **both)
        assert (status, third["variables"]["renewed"], third["credentials"]["renewed"]) == (0, 0, 0)
        assert all("-two-" in each for each in of_this(stage, third))

    with stage.installation.worker(stage.client, DW_KEYS=new):
        for name in ("one", "two"):
            back = stage.ask("docker.rollback", project=stage.project, stage=name)
            environment = stage.engine.inspect_container(back["container_id"])["Config"]["Env"]
            assert (back["state"], f"TOKEN={SECRET}" in environment) == ("live", True)
        given = {"secret_env": seal(stage, "two", new), "credential": "registry", "force": True}
        assert stage.deploy("shop:v1", stage="two", **given)["state"] == "live"
        with stored(stage.installation) as credentials:
            lost = Credential.seal(Keyring([Fernet.generate_key().decode()]), "lost", "registry.example.com", "me", "x")
            credentials.add(lost)
        status, last = rekey(stage, DW_KEYS=new)
        unopened = ["credential lost of me at registry.example.com"]
        assert (status, last["credentials"]) == (1, {"renewed": 0, "untouched": CREDENTIALS, "unopened": unopened})
    record_property(
        "figure",
        f"keys rotated with {CREDENTIALS} credentials under {len(done)} deployments: 0 failed; killed after "
        f"{sealed_anew} credentials",
    )


def of_this(stage, told):
    """The containers that need an older key, less those that other tests have left."""
    return [each for each in told["containers"]["older_key"] if stage.project in str(each)]
