"""`make lose-host`: two engines, three workers; one host, engine and worker, is killed in the middle and comes back."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import docker
import redis
from celery import Celery

from compose.jobimage import build_job_image, push
from tests.chaos.scene import LABEL
from tests.chaos.victims import Engine
from tests.flow.conftest import Installation
from tests.services import required

ALLOWED = {"live", "unchanged", "DeploymentSuperseded", "DeadlineExceeded", "EngineUnavailable"}
"""How a deployment may end: as asked for, or in an error of the contract that the loss explains."""
IN_A_HURRY = 10
"""Each so many-th deployment has a deadline that it doesn't outlast while its host is away."""
SHORT, AWAY_FOR, PATIENCE = 8.0, 20.0, 300.0


@dataclass
class Loss:
    """What came of it."""

    breaches: list[str] = field(default_factory=list)
    ended: Counter = field(default_factory=Counter)
    by_host: Counter = field(default_factory=Counter)
    ended_while_away: int = 0
    waited_for_it: int = 0
    seconds: float = 0

    def __str__(self):
        told = ", ".join(f"{count} {how}" for how, count in self.ended.most_common())
        hosts = ", ".join(f"{count} on {host}" for host, count in sorted(self.by_host.items()))
        return (
            f"{sum(self.ended.values())} deployments: {told}; live stages: {hosts}; while host two was away "
            f"{self.ended_while_away} ended and {self.waited_for_it} waited for it; {self.seconds:.0f} s; "
            f"{len(self.breaches)} breaches"
        )


def run(redis_url, folder, *, deployments=300, stages=60):
    """Deploy, kill a host after a third, bring it back, and judge."""
    with contextlib.ExitStack() as stack:
        return _Run(redis_url, folder, stack, deployments, stages).to_the_end()


class _Run:
    def __init__(self, redis_url, folder, stack, deployments, stages):
        self.stack, self.deployments, self.stages = stack, deployments, stages
        self.installation = Installation(redis_url, folder)
        self.installation.environment |= {"DW_RECONCILE_SECONDS": "2", "DW_RECONCILE_GRACE": "2"}
        self.victim = Engine(folder)
        stack.callback(self.victim.stop)
        self.victim.start()
        self.addresses = {"one": os.environ["DOCKER_HOST"], "two": self.victim.host}
        self.engines = {
            name: stack.enter_context(contextlib.closing(docker.APIClient(each, version="auto")))
            for name, each in self.addresses.items()
        }
        stack.callback(self._clear)
        self.keys = stack.enter_context(redis.Redis.from_url(redis_url, decode_responses=True))
        self.client = Celery(broker=redis_url, backend=redis_url, set_as_current=False)
        stack.callback(self.client.close)
        self.installation.add_credential()
        for version in ("v1", "v2", "v3"):
            reference = self.installation.image("shop", version)
            build_job_image(self.engines["one"], reference, page=version)
            push(self.engines["one"], reference, self.installation.username, self.installation.password)
        self.loss, self.sent = Loss(), []

    def to_the_end(self):
        began = time.monotonic()
        for _ in range(2):
            self._start_worker("one", self.stack)
        lost = self.stack.enter_context(contextlib.ExitStack())
        worker = self._start_worker("two", lost)
        third = self.deployments // 3
        self._send(third)
        self._tell("kill -9 host two, its engine and its worker")
        worker.kill()
        self.victim.daemon.process.kill()
        self.victim.daemon.process.wait()
        died = time.monotonic()
        self._send(self.deployments - third)
        time.sleep(max(0, died + AWAY_FOR - time.monotonic()))
        self._note_what_waits()
        self._tell("host two is back")
        self.victim.start()
        self._start_worker("two", self.stack)
        self._judge()
        self.loss.seconds = time.monotonic() - began
        return self.loss

    def _start_worker(self, host, stack):
        environment = {"DW_HOST": host, "DOCKER_HOST": self.addresses[host]}
        return stack.enter_context(self.installation.worker(self.client, **environment))

    def _send(self, count):
        for _ in range(count):
            number = len(self.sent)
            arguments = {
                "project": "fleet",
                "stage": f"stage{number % self.stages}",
                "image": self.installation.image("shop", f"v{1 + number // self.stages % 3}"),
                **({"timeout": SHORT} if number % IN_A_HURRY == 0 else {}),
            }
            self.sent.append(self.client.send_task("docker.deploy", kwargs=arguments))
            # Twice as many as the machine can do: some are under way, some wait, some are superseded.
            time.sleep(0.1)

    def _note_what_waits(self):
        ready = [each for each in self.sent if each.ready()]
        self.loss.ended_while_away = len(ready)
        prefix = f"dw:{self.installation.namespace}:"
        self.loss.waited_for_it = self.keys.zcard(f"{prefix}alarms:two")
        shown = json.loads(self.installation.dw("hosts", "--json").stdout)["hosts"]
        if {each["host"]: each["state"] for each in shown} != {"one": "there", "two": "away"}:
            self.loss.breaches.append(f"dw hosts tells {shown}")

    def _judge(self):
        deadline = time.monotonic() + PATIENCE
        for each in self.sent:
            try:
                each.get(timeout=max(1, deadline - time.monotonic()), propagate=False)
            except TimeoutError:
                self.loss.breaches.append(f"{each.id} has not ended")
                return
            how = each.result["state"] if each.successful() else type(each.result).__name__
            self.loss.ended[how] += 1
            if how not in ALLOWED:
                self.loss.breaches.append(f"{each.id} ended as {how}: {each.result}")
        while (wrong := self._wrong_stages()) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.loss.breaches += wrong

    def _wrong_stages(self):
        """Each stage has the container of its newest success, once, and nothing else."""
        newest = {}
        for each in self.sent:
            if each.successful():
                order = int(self._record(each.id)["order"])
                stage = each.result["stage"]
                newest[stage] = max(newest.get(stage, (0, None)), (order, each.result["container_id"]))
        found, self.loss.by_host = {}, Counter()
        for host, engine in self.engines.items():
            for each in self._containers(engine):
                found.setdefault(each["Labels"][f"{LABEL}stage"], []).append((host, each["Id"], each["State"]))
                self.loss.by_host[host] += 1
        wrong = []
        for stage in found.keys() | newest.keys():
            ids = [(identity, state) for _, identity, state in found.get(stage, [])]
            if ids != [(newest.get(stage, (0, None))[1], "running")]:
                wrong.append(f"{stage} has {found.get(stage)}, and {newest.get(stage)} is the newest")
        return wrong

    def _record(self, deployment_id):
        return self.keys.hgetall(f"dw:{self.installation.namespace}:deployment:{deployment_id}")

    def _containers(self, engine):
        return engine.containers(all=True, filters={"label": f"{LABEL}namespace={self.installation.namespace}"})

    def _clear(self):
        for engine in self.engines.values():
            for each in self._containers(engine):
                engine.remove_container(each["Id"], force=True, v=True)

    def _tell(self, what):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.host_loss", description=__doc__)
    parser.add_argument("--deployments", type=int, default=300)
    parser.add_argument("--stages", type=int, default=60)
    if os.environ.get("DW_SERVICES_ENGINE") != "private":
        parser.error("only a private engine may be killed: run it by `make lose-host`, as root, without DOCKER_HOST")
    folder = Path(required("DW_SERVICES_STATE")) / "host-loss"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with contextlib.redirect_stdout(sys.stderr):
        loss = run(required("DW_REDIS_URL"), folder, **vars(parser.parse_args()))
    for each in loss.breaches:
        sys.stdout.write(f"{each}\n")
    sys.stdout.write(f"{loss}\n")
    return 1 if loss.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
