"""A disk that is full: a second engine, of the same program as the private one, on a few megabytes of memory."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.second_engine import address, answers, second_engine
from tests.services import required
from worker.engine import ContainerSpec, Engine
from worker.errors import DiskFull
from worker.labels import Labels

pytestmark = pytest.mark.needs_private_engine


@pytest.fixture
def data(worker_id):
    """Where the small engine keeps all that it has."""
    data = Path(required("DW_SERVICES_STATE")) / f"small-{worker_id}"
    data.mkdir(exist_ok=True)
    yield data
    data.rmdir()


@pytest.fixture
def small_engine(data):
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    daemon = second_engine(data.name, data=data, folder=folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], check=True)
    try:
        daemon.start()
        daemon.wait_until(lambda: answers(folder), 30)
        with Engine(labels=Labels("docker-watcher", "small"), host=address(folder)) as engine:
            yield engine
    finally:
        daemon.stop()
        # Refused as long as anything of the engine is left that holds it.
        subprocess.run(["umount", data], check=True)
        shutil.rmtree(folder)


def test_a_full_disk_is_named_and_final(small_engine, make_image, login):
    reference = make_image("too-large", layers=[40_000_000])
    with pytest.raises(DiskFull, match=str(reference)) as caught:
        small_engine.images.pull(reference, login=login)
    assert not caught.value.retryable


def test_a_disk_that_is_full_by_now_takes_no_container(small_engine, data, make_image, login):
    reference = make_image("small-enough")
    small_engine.images.pull(reference, login=login)
    with contextlib.suppress(OSError), (data / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    with pytest.raises(DiskFull, match="one-too-many"):
        small_engine.containers.create(
            ContainerSpec(image="shop:v1", name="one-too-many", image_id=str(reference), network="none")
        )
