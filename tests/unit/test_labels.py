from worker.labels import Labels, container_name
from worker.reference import ImageReference

OURS = Labels("docker-watcher", "prod")


def test_selecting_names_the_namespace_and_what_is_asked_for():
    assert OURS.select(project="shop", stage=None) == {
        "docker-watcher.namespace": "prod",
        "docker-watcher.project": "shop",
    }


def test_a_container_is_ours_only_in_this_namespace_and_with_project_and_stage():
    ours = OURS.select(project="shop", stage="live")
    assert OURS.are_ours(ours)
    assert not OURS.are_ours({**ours, "docker-watcher.namespace": "test"})
    assert not OURS.are_ours(OURS.select(project="shop"))
    assert not OURS.are_ours({})


def test_a_name_is_deterministic_and_holds_what_engines_allow():
    image = ImageReference.parse("acme/shop:1.4.2-rc.1")
    assert container_name("dw", "shop", "staging", image) == "dw-shop-staging-1.4.2-rc.1"
