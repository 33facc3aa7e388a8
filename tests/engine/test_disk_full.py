"""A disk that is full: a second engine, of the same program as the private one, on a few megabytes of memory."""

import contextlib

import pytest

from tests.second_engine import on_small_disk
from worker.engine import ContainerSpec, Engine
from worker.errors import DiskFull
from worker.labels import Labels

pytestmark = pytest.mark.needs_private_engine


@pytest.fixture
def small_disk(worker_id):
    with (
        on_small_disk(worker_id, 24) as (host, data),
        Engine(labels=Labels("docker-watcher", "small"), host=host) as engine,
    ):
        yield engine, data


def test_a_full_disk_is_named_and_final(small_disk, make_image, login):
    small_engine, _ = small_disk
    reference = make_image("too-large", layers=[40_000_000])
    with pytest.raises(DiskFull, match=str(reference)) as caught:
        small_engine.images.pull(reference, login=login)
    assert not caught.value.retryable


def test_a_disk_that_is_full_by_now_takes_no_container(small_disk, make_image, login):
    small_engine, data = small_disk
    reference = make_image("small-enough")
    small_engine.images.pull(reference, login=login)
    with contextlib.suppress(OSError), (data / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    with pytest.raises(DiskFull, match="one-too-many"):
        small_engine.containers.create(
            ContainerSpec(image="shop:v1", name="one-too-many", image_id=str(reference), network="none")
        )
