"""The adapter on a real engine and a real registry, with a raw SDK client to look from outside."""

import contextlib
import uuid

import docker
import pytest

from compose.jobimage import LABEL, build_job_image, push
from tests.services import remove_managed, required
from worker.engine import ContainerSpec, Engine, Login
from worker.labels import Labels
from worker.reference import ImageReference


@pytest.fixture(scope="session")
def raw():
    with contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto")) as api:
        yield api


@pytest.fixture(scope="session")
def registry():
    return required("DW_SERVICES_REGISTRY")


@pytest.fixture(scope="session")
def login():
    return Login(required("DW_SERVICES_REGISTRY_USER"), required("DW_SERVICES_REGISTRY_PASSWORD"))


@pytest.fixture(scope="session")
def namespace():
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def make_image(raw, registry, login, namespace):
    """Push an image and have the engine forget it; layers of random bytes make it one that it has never seen."""

    def make(repository, tag="v1", **options):
        reference = f"{registry}/{namespace}/{repository}:{tag}"
        build_job_image(raw, reference, **{"page": f"{repository} {tag}", **options})
        push(raw, reference, login.username, login.password)
        raw.remove_image(reference, force=True)
        return ImageReference.parse(reference)

    return make


@pytest.fixture(scope="session")
def engine(namespace):
    with Engine(labels=Labels("docker-watcher", namespace), timeout=30) as engine:
        yield engine


@pytest.fixture(scope="session")
def pull(engine, login):
    """Pull an image and read it."""

    def pull(reference):
        pulled = engine.images.pull(reference, login=login)
        return engine.images.inspect(reference.pinned(pulled.digest))

    return pull


@pytest.fixture(scope="session")
def shop(make_image, pull):
    """A pulled image that serves a page on port 8080."""
    return pull(make_image("shop"))


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing(raw, namespace):
    yield
    remove_managed(raw, namespace)
    # Those that were pulled by way of a proxy have its address in their names.
    for image in raw.images(filters={"label": LABEL}):
        for reference in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())):
            if f"/{namespace}/" in reference:
                with contextlib.suppress(docker.errors.ImageNotFound):
                    raw.remove_image(reference, force=True)


@pytest.fixture(scope="session")
def network(engine, namespace):
    return engine.networks.create(f"{namespace}-net").name


@pytest.fixture
def name(namespace):
    return f"{namespace}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def spec(engine, shop, network, name):
    """A managed container's spec; what is given replaces the defaults."""

    def make(**changed):
        defaults = {
            "name": name,
            "image": "the-shop:v1",
            "image_id": shop.id,
            "network": network,
            "labels": engine.containers.labels.select(project="shop", stage="test"),
        }
        return ContainerSpec(**{**defaults, **changed})

    return make


@pytest.fixture
def create(engine, spec):
    """Create a container and read it."""

    def make(**changed):
        return engine.containers.inspect(engine.containers.create(spec(**changed)))

    return make
