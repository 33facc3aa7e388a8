"""A disk that is full: a second engine, of the same program as the private one, on a few megabytes of memory."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
import pytest

from compose.process import Daemon
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
    state = Path(required("DW_SERVICES_STATE"))
    running = Path("/proc") / (state / "dockerd.pid").read_text()
    program = (running / "cmdline").read_text().split("\0")[0]
    environ = dict(line.split("=", 1) for line in (running / "environ").read_text().split("\0") if "=" in line)
    # Short, for the 107 bytes that a socket's path may have.
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    daemon = Daemon(
        data.name,
        [
            program,
            f"--config-file={state / 'dockerd.json'}",
            f"--host=unix://{folder / 's'}",
            f"--data-root={data}",
            f"--exec-root={folder / 'x'}",
            f"--pidfile={folder / 'pid'}",
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--group=root"),
        ],
        state,
        {"PATH": environ["PATH"]},
    )

    def answers():
        try:
            return docker.APIClient(f"unix://{folder / 's'}").ping()
        except (docker.errors.DockerException, OSError):
            return False

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], check=True)
    try:
        daemon.start()
        daemon.wait_until(answers, 30)
        with Engine(labels=Labels("docker-watcher", "small"), host=f"unix://{folder / 's'}") as engine:
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
    image = small_engine.images.pull(make_image("small-enough"), login=login).image
    with contextlib.suppress(OSError), (data / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    with pytest.raises(DiskFull, match="one-too-many"):
        small_engine.containers.create(
            ContainerSpec(image="shop:v1", name="one-too-many", image_id=image.id, network="none")
        )
