"""A run of chaos from its seed to its verdict."""

import contextlib
import json
import random
import shutil
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import docker
import redis

from compose.jobimage import SERVE, build_job_image, push
from tests.chaos import orders as asked
from tests.chaos.scene import LABEL, look
from tests.chaos.verdict import KINDS, ended, excused, judge
from tests.chaos.victims import Engine, Redis, Workers
from tests.flow.conftest import Installation
from tests.flow.hook import Hook
from tests.services import required

PRODUCERS = 3
WORKERS = 3
BUILDS = {
    **{f"good:v{number}": {"page": f"version {number}"} for number in (1, 2, 3)},
    "plain:v1": {"page": "plain", "healthcheck": None},
    "exits:v1": {"page": "", "healthcheck": None, "command": ["/bin/busybox", "sh", "-c", "sleep 0.5; exit 3"]},
    "nocommand:v1": {"page": "", "healthcheck": None, "command": ["/no/such/command"]},
    "unhealthy:v1": {"page": "", "command": SERVE, "healthcheck": ["/bin/busybox", "false"]},
}


@dataclass(frozen=True)
class Ordeal:
    """How much of what."""

    seed: int
    deployments: int = 200
    stages: int = 6
    worker_kills: int = 20
    redis_kills: int = 3
    engine_kills: int = 3
    pace: float = 0.6
    """Seconds between two orders on average, over all producers."""
    patience: float = 180
    """Seconds until all must be quiet after the last order."""


@dataclass
class Ending:
    """What came of it."""

    summary: str
    breaches: list
    evidence: Path


def run(ordeal) -> Ending:
    folder = Path(required("DW_SERVICES_STATE")) / "chaos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        return _Run(ordeal, folder, stack).to_the_end()


class _Run:
    def __init__(self, ordeal, folder, stack):
        self.ordeal, self.folder, self.stack = ordeal, folder, stack
        self.rng = random.Random(ordeal.seed)
        self.orders = asked.draw(self.rng, ordeal.deployments, ordeal.stages, ordeal.pace * PRODUCERS)
        self.redis, self.engine = self._started(Redis(folder)), self._started(Engine(folder))
        self.api = stack.enter_context(contextlib.closing(docker.APIClient(self.engine.host, version="auto")))
        self.keys = stack.enter_context(redis.Redis.from_url(self.redis.url, decode_responses=True))
        self.installation = Installation(self.redis.url, folder)
        self.installation.environment["DOCKER_HOST"] = self.engine.host
        self.hook = stack.enter_context(Hook(self.installation.environment["DW_CUTOVER_KEY"]))
        stack.callback(self.hook.shutdown)
        threading.Thread(target=self.hook.serve_forever, daemon=True).start()
        stack.callback(self._remove_containers)
        self.foreign = self._prepare()

    def _started(self, service):
        self.stack.callback(service.stop)
        service.start()
        return service

    def _prepare(self):
        """Credential, images and networks; returns the ids of containers that are nobody's business."""
        self.installation.add_credential()
        for name, options in BUILDS.items():
            reference = self.installation.image(*name.split(":"))
            build_job_image(self.api, reference, **options)
            push(self.api, reference, self.installation.username, self.installation.password)
        self.api.create_network(self._further)
        alike = {"namespace": "another", "project": asked.PROJECT, "stage": "stage0", "deployment-id": "another"}
        return [self._foreign({}), self._foreign({f"{LABEL}{key}": value for key, value in alike.items()})]

    def _foreign(self, labels):
        policy = self.api.create_host_config(network_mode="none", restart_policy={"Name": "always"})
        image = self.installation.image("plain", "v1")
        made = self.api.create_container(image, host_config=policy, labels=labels)["Id"]
        self.api.start(made)
        return made

    @property
    def _further(self):
        return f"{self.installation.namespace}-further"

    def _arguments_of(self, order):
        return {
            "project": asked.PROJECT,
            "stage": order.stage,
            "image": self.installation.image(*order.image.split(":")),
            "aliases": [order.stage],
            "network": self._further,
            **({"cutover": {"url": self.hook.url}} if order.stage in asked.HOOKED else {}),
            **order.more,
        }

    def to_the_end(self) -> Ending:
        began = time.monotonic()
        workers = Workers(WORKERS, self.installation.environment, self.folder)
        producers = asked.Producers(self.orders, self.redis.url, PRODUCERS, self._arguments_of)
        self.stack.callback(workers.stop)
        self.stack.callback(producers.stop)
        workers.start()
        producers.start()
        self._kill(workers)
        producers.join()
        scene = self._quiet()
        scene.led_to = {each["stage"]: each["container_id"] for each in self.hook.told if each["event"] == "cutover"}
        breaches = judge(self.orders, scene, self.engine.outages)
        (self.folder / "scene.json").write_text(
            json.dumps({"orders": [asdict(each) for each in self.orders], **asdict(scene)}, indent=1)
        )
        return Ending(self._summary(scene, breaches, workers, time.monotonic() - began), breaches, self.folder)

    def _kill(self, workers):
        """Kill at moments that are spread over the time in which orders come."""
        ordeal = self.ordeal
        kills = ["worker"] * ordeal.worker_kills + ["redis"] * ordeal.redis_kills + ["engine"] * ordeal.engine_kills
        span = ordeal.deployments * ordeal.pace
        last = 0.0
        for moment, what in sorted((self.rng.uniform(3, span + 3), what) for what in kills):
            # By the time between two kills, or those during an engine's start would come at once after it.
            time.sleep(moment - last)
            last = moment
            self._tell(f"kill -9 {what}")
            if what == "worker":
                workers.kill_one(self.rng)
            else:
                {"redis": self.redis, "engine": self.engine}[what].die_for(self.rng.uniform(0, 2))

    def _quiet(self):
        """Await that nothing is under way; returns what there is then, or when patience ends."""
        deadline = time.monotonic() + self.ordeal.patience
        seen_quiet = 0
        # Two looks: a message that a worker takes is for a moment neither in its queue nor among the unacknowledged.
        while seen_quiet < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                scene = look(self.keys, self.api, self.installation.namespace, self.foreign)
            except docker.errors.NotFound:  # removed between two looks at it
                continue
            seen_quiet = seen_quiet + 1 if scene.is_quiet(self.orders) else 0
        return scene

    def _summary(self, scene, breaches, workers, seconds):
        ordeal = self.ordeal
        endings = ", ".join(f"{count} {how}" for how, count in ended(self.orders, scene).most_common())
        befallen = sum(excused(each, scene, self.engine.outages) for each in self.orders)
        counts = ", ".join(f"{sum(each.kind == kind for each in breaches)} {kind}" for kind in KINDS)
        return (
            f"{ordeal.deployments} deployments to {ordeal.stages} stages: {endings}; "
            f"kill -9: {ordeal.worker_kills} workers, {ordeal.redis_kills} Redis, {ordeal.engine_kills} engine; "
            f"{workers.ended_by_themselves} workers ended by themselves, {befallen} failed with the engine; "
            f"{seconds:.0f} s; {counts}; seed {ordeal.seed}"
        )

    def _remove_containers(self):
        for each in self.api.containers(all=True):
            self.api.remove_container(each["Id"], force=True, v=True)

    def _tell(self, what):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
        sys.stdout.flush()
