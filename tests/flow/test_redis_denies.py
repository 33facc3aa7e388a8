"""A Redis that denies the worker a command or a key: it says which, goes on, and serves again once that is mended."""

import re
import uuid
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from celery import Celery

from tests.flow.conftest import Installation, Stage

_DENIED = "no permission|No permission|can't run|can't access"


@pytest.fixture(scope="module")
def admin(second_redis_url):
    with redis.Redis.from_url(second_redis_url) as connection:
        yield connection


@pytest.fixture(scope="module")
def user(admin):
    """A user of the test's Redis who may do all, at first."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    admin.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all")
    yield name
    admin.execute_command("ACL", "DELUSER", name)


@pytest.fixture(scope="module")
def another(second_redis_url, user, installation, images, tmp_path_factory):
    made = Installation(second_redis_url, tmp_path_factory.mktemp("logs"), namespace=installation.namespace)
    made.add_credential()
    parts = urlsplit(second_redis_url)
    place = parts.netloc.rpartition("@")[2]
    made.environment["DW_REDIS_URL"] = urlunsplit(parts._replace(netloc=f"{user}:secret@{place}"))
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    with made.worker(client) as process:
        yield made, client
        assert process.poll() is None, "the worker has ended"
    client.close()


@pytest.fixture
def stage(another, engine):
    installation, client = another
    made = Stage(client, engine, installation)
    yield made
    made.clear()


class Log:
    """What a worker says."""

    def __init__(self, path):
        self._path = path
        self.clear()

    def clear(self):
        self._begin = self._path.stat().st_size

    def says(self, *patterns):
        """Whether a line has all of these patterns."""
        with self._path.open() as log:
            log.seek(self._begin)
            return any(all(re.search(each, line) for each in patterns) for line in log)


@pytest.fixture
def log(another):
    installation, _ = another
    (path,) = installation.folder.glob("worker-*")
    return Log(path)


# The first of them lets the script that takes a message begin: what was taken must not be lost with it.
@pytest.mark.parametrize("denied", ["-zadd -set", "-evalsha -eval", "-@all", "resetkeys ~another:*"])
def test_a_worker_says_what_it_may_not_and_goes_on_once_it_may(stage, log, admin, user, denied):
    log.clear()
    admin.execute_command("ACL", "SETUSER", user, *denied.split())
    try:
        sent = stage.send("docker.deploy", **stage.deployment("shop:v1"))
        stage.until(lambda: log.says("driver_waits_for_redis", _DENIED))
        stage.until(lambda: log.says("queue_not_read", _DENIED))
    finally:
        admin.execute_command("ACL", "SETUSER", user, "~*", "+@all")
    assert sent.get(timeout=60)["state"] == "live"
    assert stage.ask("docker.list", project=stage.project)["containers"]


def test_an_operation_that_redis_denies_something_is_tried_again(stage, admin, user):
    admin.execute_command("ACL", "SETUSER", user, "-hgetall")
    try:
        sent = stage.send("docker.pull", image=stage.image("shop:v1"))
        stage.until(lambda: sent.state == "RETRY")
        error = sent.result
    finally:
        admin.execute_command("ACL", "SETUSER", user, "+@all")
    assert type(error).__name__ == "EngineUnavailable"
    assert "'hgetall'" in error.args[0]
    assert "\n" not in error.args[0]
    assert sent.get(timeout=60)["image_id"]


def test_dw_says_in_a_sentence_what_it_may_not(stage, admin, user):
    admin.execute_command("ACL", "SETUSER", user, "-hmget")
    try:
        ended = stage.installation.dw("history", f"{stage.project}/staging")
    finally:
        admin.execute_command("ACL", "SETUSER", user, "+@all")
    assert ended.returncode == 1
    assert "Redis denies what is asked" in ended.stderr
    assert "'hmget'" in ended.stderr
    assert "Traceback" not in ended.stderr
