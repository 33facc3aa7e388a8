"""Workers of an older and of a newer version of the code at one queue: an upgrade under load, and the way back."""

import contextlib
import json
import signal
import threading
import uuid
from collections import Counter

import pytest
from celery import Celery

from tests.flow.conftest import Installation, Stage
from tests.flow.newer import NOTED, make_newer
from tests.services import remove_managed

STAGES = 10
AT_ONCE = 12
"""How many deployments are under way at a time."""
WORKERS = 2

pytestmark = pytest.mark.timeout(300)


class Load(threading.Thread):
    """Deploys to ten stages in turn until it is told to stop."""

    def __init__(self, stages, images):
        super().__init__(daemon=True)
        self.stages, self.images = stages, images
        self.sent = []
        self.asks_for_what_is_new = False
        self.asked_for_what_is_new = []
        self._stopped = threading.Event()

    def run(self):
        while not self._stopped.wait(0.2):
            if sum(not each.ready() for each in self.sent[-5 * AT_ONCE :]) < AT_ONCE:
                self._send(len(self.sent))

    def _send(self, number):
        stage = self.stages[number % STAGES]
        is_new = self.asks_for_what_is_new and number % 4 == 0
        asked = stage.deployment(self.images[number // STAGES % len(self.images)], policy="missing")
        sent = stage.send("docker.deploy", **asked, **({"warm": True} if is_new else {}))
        self.sent.append(sent)
        if is_new:
            self.asked_for_what_is_new.append(sent)

    def stop(self):
        self._stopped.set()
        self.join()


class Fleet:
    """Workers, of which each can be replaced by one of another version."""

    def __init__(self, stack, installation, client):
        self._stack, self._installation, self._client = stack, installation, client
        self.workers = []

    def start(self, folder=None):
        through = (lambda command: ["env", "-C", str(folder), *command]) if folder else list
        worker = self._installation.worker(self._client, through=through)
        self.workers.append(self._stack.enter_context(worker))

    def replace_each(self, folder=None):
        """Start a new one and end an old one, one after the other, and say when each was replaced."""
        for old in [*self.workers]:
            self.start(folder)
            old.send_signal(signal.SIGTERM)
            assert old.wait(40) == 0
            self.workers.remove(old)
            yield


@pytest.fixture
def stages(second_redis_url, tmp_path, engine, installation, images):
    """Ten stages of an installation that no worker serves yet."""
    another = Installation(second_redis_url, tmp_path, namespace=installation.namespace)
    another.environment |= {"DW_STABLE_SECONDS": "0.2", "DW_CONCURRENCY": "4", "DW_LEASE_SECONDS": "5"}
    another.add_credential()
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    made = [Stage(client, engine, another) for _ in range(STAGES)]
    yield made
    for each in made:
        each.clear()
    client.close()
    remove_managed(engine, another.namespace)


def test_an_upgrade_under_load_and_the_way_back_fail_no_deployment(stages, images, tmp_path, record_property):
    shop = [images("upgraded", tag, healthcheck=None) for tag in ("v1", "v2", "v3")]
    newer = make_newer(tmp_path / "newer")
    client, until = stages[0].client, stages[0].until
    load = Load(stages, shop)
    with contextlib.ExitStack() as stack:
        fleet = Fleet(stack, stages[0].installation, client)
        for _ in range(WORKERS):
            fleet.start()
        load.start()
        until(lambda: any(each.ready() for each in load.sent), 60)
        for _ in fleet.replace_each(newer):
            # What is new is asked for when there is one that knows it, and older ones are at the same queue.
            load.asks_for_what_is_new = True
            warmth = [client.send_task("docker.warmth") for _ in range(4)]
            assert all(each.get(timeout=60) == {"warm": True} for each in warmth)
        until(lambda: any(each.ready() for each in load.asked_for_what_is_new), 60)
        load.asks_for_what_is_new = False
        until(lambda: all(each.ready() for each in load.asked_for_what_is_new), 90)
        for _ in fleet.replace_each():
            pass
        load.stop()
        results = [each.get(timeout=90, propagate=False) for each in load.sent]
    ended = Counter(each["state"] if isinstance(each, dict) else type(each).__name__ for each in results)
    record_property("figure", f"deployments while all workers were upgraded, and back: {dict(ended)}")
    assert ended.keys() <= {"live", "unchanged", "DeploymentSuperseded"}
    assert len(results) >= 60
    assert load.asked_for_what_is_new
    check_new_step(load)
    noted = [json.loads(stages[0].record(each.id)["found"]).get("noted") for each in load.sent]
    assert {None, NOTED} == set(noted)
    for number, stage in enumerate(stages):
        check_engine(stage, load.sent[number::STAGES])


def check_new_step(load):
    """What asked for the new step has been through it, whoever did the others."""
    done = [each.result for each in load.asked_for_what_is_new if each.successful()]
    assert done
    assert all("warm" in each["seconds"] for each in done if each["state"] == "live")


def check_engine(stage, sent):
    """The last one that was live is all that there is of a stage."""
    live = [each.result["container_id"] for each in sent if each.successful()]
    assert [(each["Id"], each["State"]) for each in stage.containers()] == [(live[-1], "running")]


def test_what_nobody_newer_is_there_for_is_refused(stages):
    stage = stages[0]
    with stage.installation.worker(stage.client):
        unknown = stage.send("docker.warmth").get(timeout=30, propagate=False)
        asked = stage.deployment("shop:v1", warm=True)
        argument = stage.send("docker.deploy", **asked).get(timeout=30, propagate=False)
        sent = stage.client.send_task("docker.list", headers={"dw_needs": 2}, task_id=str(uuid.uuid4()))
        needs = sent.get(timeout=30, propagate=False)
    assert [type(each).__name__ for each in (unknown, argument, needs)] == ["SpecInvalid"] * 3
    assert "version 2" in str(needs.args[0])
