"""What is known of images that were pulled; on a real Redis, and on the simulation's."""

import pytest

from worker.store import PulledImages


@pytest.fixture
def images(connection, prefix):
    yield PulledImages(connection, prefix, "local")
    for key in connection.scan_iter(f"{prefix}*"):
        connection.delete(key)


def test_nothing_is_known_at_first(images):
    assert images.known().images == {}


def test_an_image_is_known_by_what_it_was_pulled_as_and_when_it_was_used(images):
    images.note_pulled("one", ["shop:1", "shop@1"])
    images.note_used("one")
    images.note_used("somebody's")
    images.note_pulled("never used", ["shop:3"])
    known = images.known()
    assert known.images["one"].names == {"shop:1", "shop@1"}
    assert 0 <= known.at - known.images["one"].used < 60
    assert known.images["somebody's"].names == frozenset()
    assert known.images["never used"].used is None


def test_an_image_that_is_asked_for_is_younger_again_but_not_yet_used_where_it_never_was(images):
    images.note_pulled("never used", ["shop:3"])
    images.note_asked_for("never used")
    images.note_used("one")
    before = images.known().images["one"].used
    images.note_asked_for("one")
    assert images.known().images["one"].used > before
    assert images.known().images["never used"].used is None


def test_a_tag_that_moves_is_the_newer_images(images):
    images.note_pulled("one", ["shop:latest", "shop@1"])
    images.note_pulled("two", ["shop:latest", "shop@2"])
    assert images.known().images["one"].names == {"shop@1"}
    assert images.known().images["two"].names == {"shop:latest", "shop@2"}


def test_a_forgotten_image_takes_no_other_ones_name_along(images, connection, prefix):
    images.note_pulled("one", ["shop:latest", "shop@1"])
    images.note_used("one")
    known = images.known()
    images.note_pulled("two", ["shop:latest"])
    images.forget("one", known)
    assert set(images.known().images) == {"two"}
    images.forget("two", images.known())
    assert list(connection.scan_iter(f"{prefix}*")) == []


def test_an_image_that_was_used_since_is_not_forgotten(images):
    images.note_pulled("one", ["shop:1"])
    images.note_used("one")
    known = images.known()
    images.note_used("one")
    images.forget("one", known)
    assert images.known().images["one"].names == {"shop:1"}
