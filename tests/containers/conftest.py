"""Images that are built once for all, on a base that is made of this Debian release."""

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

import docker
import pytest

from compose import images
from compose.jobimage import build_job_image, push
from compose.process import REPO
from tests.containers.checkout import Checkout
from tests.services import required

IMAGE = "docker-watcher-worker"
BASE = "docker-watcher-base"


@pytest.fixture(scope="session")
def engine():
    with contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto", timeout=120)) as api:
        yield api


@pytest.fixture(scope="session")
def base(engine):
    """The base's name, whose tag says which one it is: the private engine keeps it for the next run."""
    with images.being_made():
        if not images.BASE.exists():
            pytest.fail("There is no base for the images: run the tests by `make test` or `make image`.", pytrace=False)
    name = f"{BASE}:{images.BASE.stat().st_mtime_ns}"
    with alone("base"):
        if not engine.images(name):
            remove_all(engine, BASE)
            repository, tag = name.split(":")
            engine.import_image_from_file(str(images.BASE), repository, tag, changes="ENV LANG=C.UTF-8")
    return name


@pytest.fixture(scope="session")
def image(engine, base, tmp_path_factory):
    """The worker's image, built by Compose: once for all processes, and never again of the same files."""
    name = f"{IMAGE}:{tag_of(base)}"
    with alone("image"):
        if not engine.images(name):
            remove_all(engine, IMAGE)
            Checkout(tmp_path_factory.mktemp("build"), "build", base, name).compose("build", "worker")
    return name


@contextlib.contextmanager
def alone(name):
    with (Path(required("DW_SERVICES_STATE")) / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_all(engine, repository):
    for each in engine.images(repository, quiet=True):
        engine.remove_image(each, force=True)


def tag_of(base):
    told = hashlib.sha256(base.encode())
    for name in (*images.SOURCES, images.WHEELS):
        path = REPO / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                told.update(f"{file.name}\n".encode() + file.read_bytes())
    return told.hexdigest()[:12]


@pytest.fixture(scope="session")
def job_images(engine):
    """Push job images, whose pages say their names."""
    registry = required("DW_SERVICES_REGISTRY")
    login = required("DW_SERVICES_REGISTRY_USER"), required("DW_SERVICES_REGISTRY_PASSWORD")

    def make(name, **options):
        reference = f"{registry}/containers-{os.getpid()}/{name}"
        build_job_image(engine, reference, page=name, **options)
        push(engine, reference, *login)
        return reference

    return make
