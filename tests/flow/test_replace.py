"""A version takes another one's place."""

from tests.flow.conftest import page


def test_a_new_version_retires_the_old_one(stage):
    first = stage.deploy("shop:v1")
    second = stage.deploy("shop:v2")
    assert second["replaced"] == [first["container_id"]]
    assert page(second) == "shop v2"
    assert [each["Id"] for each in stage.containers()] == [second["container_id"]]


def test_the_same_again_changes_nothing(stage):
    first = stage.deploy("shop:v1")
    again = stage.deploy("shop:v1")
    assert again["state"] == "unchanged"
    assert [again[key] for key in ("container_id", "ports", "health")] == [
        first[key] for key in ("container_id", "ports", "health")
    ]


def test_force_deploys_the_same_again_under_the_same_name(stage):
    first = stage.deploy("shop:v1")
    again = stage.deploy("shop:v1", force=True)
    assert again["container_id"] != first["container_id"]
    assert again["container_name"] == first["container_name"]
    assert again["replaced"] == [first["container_id"]]
    (container,) = stage.containers()
    assert container["Names"] == [f"/{again['container_name']}"]


def test_a_tag_that_moved_is_a_change(stage, images):
    images("moving", "latest", page="one")
    stage.deploy("moving:latest")
    images("moving", "latest", page="two")
    second = stage.deploy("moving:latest")
    assert second["state"] == "live"
    assert page(second) == "two"


def test_keep_leaves_older_instances_running(stage):
    first = stage.deploy("shop:v1")
    second = stage.deploy("shop:v1", keep=2, force=True)
    assert second["replaced"] == []
    assert {each["Id"] for each in stage.containers()} == {first["container_id"], second["container_id"]}
    assert {each["State"] for each in stage.containers()} == {"running"}
    third = stage.deploy("shop:v2", keep=2)
    assert third["replaced"] == [first["container_id"]]


def test_aliases_move_to_the_new_version_once_it_is_proven(stage, installation):
    stage.deploy("shop:v1", aliases=[stage.alias])
    second = stage.deploy("shop:v2", aliases=[stage.alias])
    assert page(second) == "shop v2"
    container = stage.engine.inspect_container(second["container_id"])
    assert stage.alias in container["NetworkSettings"]["Networks"][installation.network]["Aliases"]


def test_an_older_version_that_is_kept_can_be_made_the_newest_again(stage):
    stage.deploy("shop:v1", keep=2)
    stage.deploy("shop:v2", keep=2)
    third = stage.deploy("shop:v1", keep=2)
    assert third["state"] == "live"
    assert page(third) == "shop v1"


def test_a_container_without_healthcheck_may_take_longer_than_the_health_timeout(stage, images):
    image = images("plain", "v1", healthcheck=None)
    assert stage.deploy(image, health={"stable": 3, "timeout": 1})["health"] == "running"


def test_a_further_network_is_joined(stage, installation):
    further = f"{installation.namespace}-further"
    stage.ask("docker.ensure_network", network=further)
    result = stage.deploy("shop:v1", network=further)
    networks = stage.engine.inspect_container(result["container_id"])["NetworkSettings"]["Networks"]
    assert set(networks) == {installation.network, further}
