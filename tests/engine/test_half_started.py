"""A container that the engine has lost track of, as it does when it is killed in the middle of a start."""

import contextlib
import json

import docker
import pytest

from compose.jobimage import build_job_image
from tests.chaos.victims import Engine as Victim
from worker.engine import ContainerRef, ContainerSpec, Engine, is_half_started
from worker.engine.errors import Subject, refused
from worker.errors import EngineUnavailable
from worker.labels import Labels

pytestmark = pytest.mark.needs_private_engine
OLD = "shop"


@pytest.fixture
def victim(tmp_path):
    victim = Victim(tmp_path)
    victim.start()
    yield victim
    victim.stop()


def kill_before_it_notes(victim, container_id):
    """Have the engine as if it had been killed before it noted that a container runs."""
    victim.daemon.process.kill()
    victim.daemon.process.wait()
    noted = victim.data / "containers" / container_id / "config.v2.json"
    state = json.loads(noted.read_text())
    state["State"] |= {"Running": False, "Pid": 0}
    noted.write_text(json.dumps(state))
    victim.start()


def test_no_start_gets_over_it_and_what_is_made_anew_starts(victim, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", victim.host)
    labels = Labels("docker-watcher", "half")
    with Engine(labels=labels) as engine, contextlib.closing(docker.APIClient(victim.host, version="auto")) as raw:
        image = build_job_image(raw, "acme/shop:v1", page="shop v1", healthcheck=None)
        network, containers = engine.networks.create("half").name, engine.containers
        spec = ContainerSpec(
            name=OLD, image="acme/shop:v1", image_id=image, network=network, ports={"8080/tcp": 29_092}
        )
        old = ContainerRef(containers.create(spec), OLD)
        containers.start(old)
        kill_before_it_notes(victim, old.id)
        if raw.version()["Version"].startswith("20."):
            # Later ones get over it.
            for _ in range(2):
                with pytest.raises(EngineUnavailable) as refused:
                    containers.start(old)
                assert is_half_started(refused.value)
        made = ContainerRef(containers.make_anew(old, f"{OLD}-anew"), f"{OLD}-anew")
        assert containers.remove(old, force=True)
        started = containers.start(made)
        assert (started.state, started.ports) == ("running", {"8080/tcp": 29_092})
        containers.remove(made, force=True)


@pytest.mark.parametrize("way", ["", "failed to create task for container: "])
@pytest.mark.parametrize("text", ["task c0ffee: already exists: unknown", "id already in use"])
def test_it_is_told_by_the_engines_words_alone(way, text):
    assert is_half_started(refused(Subject("start", container="shop"), 500, way + text))


def test_an_engine_that_fails_otherwise_has_not_lost_track_of_it():
    assert not is_half_started(refused(Subject("start", container="shop"), 500, "context deadline exceeded"))
