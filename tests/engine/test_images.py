"""Pulling and inspecting, with a real registry that asks for a password."""

import base64
import json
import socket

import pytest

from worker.engine import Engine, Login
from worker.errors import ImageNotFound, PullDenied, RegistryUnavailable
from worker.reference import ImageReference


def test_a_pull_brings_the_image_of_the_registrys_digest(raw, make_image, pull):
    reference = make_image("pulled")
    image = pull(reference)
    found = raw.inspect_image(str(reference))
    assert image.id == found["Id"]
    assert found["RepoDigests"] == [reference.pinned(image.digest)]
    assert image.size == found["Size"]


def test_a_second_pull_downloads_nothing(engine, make_image, login):
    reference = make_image("twice", layers=[1000])
    assert engine.images.pull(reference, login=login).downloaded
    assert not engine.images.pull(reference, login=login).downloaded


def test_a_pull_by_digest_brings_what_the_tag_once_was(make_image, pull):
    first = pull(make_image("moved", page="one"))
    reference = make_image("moved", page="two")
    assert pull(reference).id != first.id
    pinned = ImageReference.parse(reference.pinned(first.digest))
    assert pull(pinned).id == first.id


def test_a_tag_that_moves_while_its_image_is_pulled_changes_nothing(engine, raw, make_image, shop, login):
    reference = make_image("moving")
    pulled = engine.images.pull(
        reference, login=login, on_progress=lambda _: raw.tag(shop.id, reference.name, reference.tag)
    )
    assert raw.inspect_image(str(reference))["Id"] == shop.id
    image = engine.images.inspect(reference.pinned(pulled.digest))
    assert image.id != shop.id
    assert image.digest == pulled.digest


def test_an_image_says_what_it_exposes_checks_and_is_labelled_with(make_image, pull):
    made = make_image("described", expose=("8080/tcp", "53/udp"), labels={"team": "a"})
    image = pull(made)
    assert image.ports == ("53/udp", "8080/tcp")
    assert image.healthcheck["Test"]
    assert image.labels["team"] == "a"
    bare = pull(make_image("bare", healthcheck=None, expose=()))
    assert (bare.ports, bare.healthcheck) == ((), None)


@pytest.mark.parametrize(
    "other", [None, Login("deployer", "wrong"), Login("nobody", "x")], ids=["none", "wrong", "nobody"]
)
def test_a_pull_without_the_right_password_is_denied(engine, make_image, other):
    reference = make_image("private")
    with pytest.raises(PullDenied, match=str(reference)) as caught:
        engine.images.pull(reference, login=other)
    assert "wrong" not in str(caught.value.args)


def test_the_users_own_login_is_never_used(namespace, engine, make_image, registry, login, tmp_path, monkeypatch):
    auth = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Engine(labels=engine.containers.labels) as with_login, pytest.raises(PullDenied):
        with_login.images.pull(make_image("private"))


def test_no_such_tag(engine, make_image, login):
    reference = ImageReference.parse(str(make_image("known")).replace(":v1", ":v9"))
    with pytest.raises(ImageNotFound, match=str(reference)):
        engine.images.pull(reference, login=login)


def test_no_such_repository(engine, registry, login):
    with pytest.raises(ImageNotFound, match="nothing/at-all:v1"):
        engine.images.pull(ImageReference.parse(f"{registry}/nothing/at-all:v1"), login=login)


def test_a_registry_that_is_down(engine):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        image = f"127.0.0.1:{closed.getsockname()[1]}/acme/shop:v1"
        with pytest.raises(RegistryUnavailable, match=image) as caught:
            engine.images.pull(ImageReference.parse(image))
    assert caught.value.retryable


def test_no_such_image_on_the_engine(engine):
    with pytest.raises(ImageNotFound, match="acme/nothing:v1"):
        engine.images.inspect("acme/nothing:v1")
    assert engine.images.find("acme/nothing:v1") is None


@pytest.fixture
def listed(engine):
    """An image as a list shows it."""

    def find(image_id):
        (found,) = [each for each in engine.images.list() if each.id == image_id]
        return found

    return find


def test_an_image_is_listed_with_its_names_and_removed_with_all_of_them(engine, raw, make_image, pull, listed):
    reference = make_image("listed", layers=[1000])
    image = pull(reference)
    raw.tag(image.id, f"{reference.name}-too", "v2")
    found = listed(image.id)
    assert (set(found.tags), found.digests) == (
        {str(reference), f"{reference.name}-too:v2"},
        [reference.pinned(image.digest)],
    )
    assert (found.size, found.parent) == (image.size, "")
    assert engine.images.remove(found)
    assert engine.images.find(image.id) is None
    assert not engine.images.remove(found)


def test_an_image_whose_tag_has_moved_is_removed_by_its_digest(engine, make_image, pull, listed):
    first = pull(make_image("left-behind", page="one"))
    second = pull(make_image("left-behind", page="two"))
    found = listed(first.id)
    assert found.tags == []
    assert engine.images.remove(found)
    assert engine.images.find(first.id) is None
    assert engine.images.find(second.id)


def test_an_image_without_any_name_is_removed_by_its_id(engine, raw, make_image, pull, listed):
    reference = make_image("nameless", layers=[1000])
    image = pull(reference)
    container = raw.create_container(image.id, host_config=raw.create_host_config(network_mode="none"))
    raw.start(container)
    # Of an image that a running container is made of, force takes the names and nothing else.
    raw.remove_image(str(reference), force=True)
    found = listed(image.id)
    assert (found.tags, found.digests, found.name) == ([], [], image.id)
    assert not engine.images.remove(found)
    raw.remove_container(container, force=True)
    assert engine.images.remove(found)


def test_an_image_that_a_container_is_made_of_stays_with_its_name(engine, raw, make_image, pull, listed):
    reference = make_image("in-use", layers=[1000])
    image = pull(reference)
    found = listed(image.id)
    container = raw.create_container(image.id, host_config=raw.create_host_config(network_mode="none"))
    assert not engine.images.remove(found)
    assert listed(image.id) == found
    raw.remove_container(container)


def test_an_image_that_somebody_names_meanwhile_stays_under_that_name(engine, raw, make_image, pull, listed):
    image = pull(make_image("adopted", layers=[1000]))
    found = listed(image.id)
    raw.tag(image.id, f"{image.id[7:19]}/theirs", "v1")
    assert not engine.images.remove(found)
    assert engine.images.find(f"{image.id[7:19]}/theirs:v1").id == image.id
    raw.remove_image(f"{image.id[7:19]}/theirs:v1")


def test_progress_counts_the_bytes_of_all_layers(engine, make_image, login):
    seen = []
    reference = make_image("large", layers=[3_000_000, 3_000_000])
    engine.images.pull(
        reference, login=login, on_progress=lambda progress: seen.append((progress.current, progress.total))
    )
    assert seen[-1][0] == seen[-1][1] >= 6_000_000
    assert len({current for current, _ in seen}) > 2


def test_a_listener_can_break_a_pull_off(engine, make_image, login):
    def break_off(progress):
        if progress.current:
            raise KeyError("enough")

    reference = make_image("broken-off", layers=[20_000_000])
    with pytest.raises(KeyError):
        engine.images.pull(reference, login=login, on_progress=break_off)
    assert engine.images.find(str(reference)) is None
