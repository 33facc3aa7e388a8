"""What a restored backup of Redis, older than what runs, does to what runs."""

import contextlib

import redis

from tests.flow.conftest import page


@contextlib.contextmanager
def database(url):
    with redis.Redis.from_url(url) as connection:
        yield connection


def test_what_was_deployed_after_the_copy_goes_on_and_is_known_again(unserved_stage, second_redis_url):
    stage = unserved_stage
    stage.installation.add_credential()
    with stage.installation.worker(stage.client), database(second_redis_url) as store:
        first = stage.deploy("shop:v1")
        copy = {key: store.dump(key) for key in store.keys("*") if store.type(key) != b"none"}
        second = stage.deploy("shop:v2")
        assert second["replaced"] == [first["container_id"]]
    with database(second_redis_url) as store:
        store.flushdb()
        for key, value in copy.items():
            if value:
                store.restore(key, 0, value)
    with stage.installation.worker(stage.client, DW_RECONCILE_SECONDS="1", DW_RECONCILE_GRACE="1"):
        stage.until(lambda: stage.record(second["deployment_id"]).get("outcome") == "adopted")
        assert page(second) == "shop v2"
        (listed,) = stage.ask("docker.list", project=stage.project)["containers"]
        assert listed["container_id"] == second["container_id"]
        back = stage.ask("docker.rollback", project=stage.project, stage=stage.name)
        assert page(back) == "shop v1"
        assert back["replaced"] == [second["container_id"]]
    assert [each["Id"] for each in stage.containers()] == [back["container_id"]]
