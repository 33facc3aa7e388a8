"""A worker that is killed between any two of its effects costs a lease, and nothing else.

Each case deploys over a version that serves, or orders something of a stage of two instances, kills the only worker at
its point, and lets another one go on. The cases run side by side in installations of their own, and are judged when all
have ended.
"""

import contextlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import redis
from celery import Celery

from compose import redis as compose_redis
from tests.engine_proxy import EngineProxy
from tests.flow.conftest import Installation, Stage
from tests.flow.doomed import Doom, start_worker
from tests.flow.hook import Hook
from tests.services import remove_managed, required

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

LANES = 10
"""How many cases are under way at a time: most of a case is waiting for leases to end."""
ENDS_WITHIN = 30
# As a server that fails, and unlike one that is told to stop.
ENDS_WITH_3 = ["/bin/busybox", "sh", "-c", "trap 'exit 3' TERM; /bin/busybox sleep 600 & wait"]
# What makes a case wait, shortened: a lease of 2 s, from the tests' own settings, is what a kill costs.
SHORTENED = {"DW_STABLE_SECONDS": "0.3"}


def before(effect, **more):
    return {"moment": "before", "effect": effect, **more}


def after(effect, **more):
    return {"moment": "after", "effect": effect, **more}


REPLACEMENT = {
    # Were it not leased in the step that took it from its queue, it would be nowhere but in the worker.
    "message popped, not received": before("receipt of message"),
    "message taken, nothing recorded": before("accept"),
    # The sweep that gives out a dead worker's messages: its lock must not outlive a worker that dies at it.
    "message taken, sweep for lost ones begun": after(r"lock dw\.unacked_mutex", held="accept"),
    "recorded, first step not sent": after("accept"),
    "first step sent": after("send docker.deploy.pull"),
    "pull claimed": after("claim pull"),
    "leads the pull, not begun": after("join"),
    "image pulled, those that wait not told": before("settle"),
    "image pulled, not committed": before("commit pull"),
    "pull committed, next not sent": after("commit pull"),
    "inspect claimed": after("claim inspect"),
    "inspect committed, next not sent": after("commit inspect"),
    "create claimed": after("claim create"),
    "container created, not committed": after("POST /containers/create"),
    "create committed, next not sent": after("commit create"),
    "connect claimed": after("claim connect"),
    "on the further network, not committed": after("POST /networks/[^/]+/connect"),
    "connect committed, next not sent": after("commit connect"),
    "start claimed": after("claim start"),
    "started, not committed": after("POST /containers/[^/]+/start"),
    "start committed, next not sent": after("commit start"),
    "proven, not committed": before("commit prove"),
    "prove committed, next not sent": after("commit prove"),
    "promote claimed": after("claim promote"),
    "old one renamed, new one not": after("POST /containers/[^/]+/rename"),
    "new one renamed": after("POST /containers/[^/]+/rename", time=2),
    "restart policy set": after("POST /containers/[^/]+/update"),
    "off the shared network, alias not set": after("POST /networks/[^/]+/disconnect"),
    # The first connect is that of the step.
    "alias set on the shared network": after("POST /networks/[^/]+/connect", time=2),
    "off the further network, alias not set": after("POST /networks/[^/]+/disconnect", time=2),
    "alias set on the further network": after("POST /networks/[^/]+/connect", time=3),
    "promoted, not committed": before("commit promote"),
    "promote committed, next not sent": after("commit promote"),
    # The candidate left both networks once, for its aliases.
    "old one off a network, its own aliases not given back": after("POST /networks/[^/]+/disconnect", time=3),
    "aliases taken, not committed": before("commit drain"),
    "drain committed": after("commit drain"),
    "retire claimed": after("claim retire"),
    "old one stopped, not removed": after("POST /containers/[^/]+/stop"),
    "old one removed, not committed": after("DELETE /containers/[^/]+"),
    "retire committed, next not sent": after("commit retire"),
    "report claimed": after("claim report"),
    "result stored, not closed": after("result SUCCESS"),
    "closed": after("close"),
}
FIRST_DEPLOYMENT = {
    "network about to be made": before("POST /networks/create"),
    "network made, no container": after("POST /networks/create"),
}
FOLLOWED_BY_ANOTHER = {
    "closed, the one that waits not sent": after("close"),
}
BROKEN_IMAGE = {
    "failure committed, undo not sent": after("commit prove"),
    "undo claimed": after("claim undo"),
    "candidate removed": after("DELETE /containers/[^/]+"),
    "undone, not committed": before("commit undo"),
    "undo committed, next not sent": after("commit undo"),
    "failure stored, not closed": after("result FAILURE"),
}
# The candidate ends while nobody looks, half promoted: what it has taken must go back. One that was killed gets
# another start.
CANDIDATE_ENDS = {
    "old one renamed, candidate ends": after("POST /containers/[^/]+/rename"),
    "new one renamed, candidate ends": after("POST /containers/[^/]+/rename", time=2),
    "alias set, candidate ends": after("POST /networks/[^/]+/connect", time=3),
}
CANDIDATE_KILLED = {
    "old one renamed, candidate killed": after("POST /containers/[^/]+/rename"),
}
STOP_FIRST = {
    "displace claimed": after("claim displace"),
    "old one stopped, not committed": after("POST /containers/[^/]+/stop"),
    "displace committed, next not sent": after("commit displace"),
    "new one started beside none": after("POST /containers/[^/]+/start"),
    "old one's restart policy taken": after("POST /containers/[^/]+/update", time=2),
    "old one stopped once more": after("POST /containers/[^/]+/stop", time=2),
}
STOP_FIRST_AND_BROKEN = {
    "old one stopped for a broken one": after("POST /containers/[^/]+/stop"),
    "failure committed, old one stopped": after("commit prove"),
    "broken one removed, old one stopped": after("DELETE /containers/[^/]+"),
    "old one's restart policy set": after("POST /containers/[^/]+/update"),
    "old one started again, hook not told": after("POST /containers/[^/]+/start", time=2),
    "hook told of the old one": after("hook cutover reverted"),
    "reverted, not committed": before("commit revert"),
    "revert committed, next not sent": after("commit revert"),
    "undone twice, not committed": before("commit undo"),
}
# The engine was killed while it started the old one again, and refuses each further start of that.
HALF_STARTED = {
    "half of the old one noticed": before("POST /containers/create", time=2),
    "old one made anew, on one of its networks": after("POST /containers/create", time=2),
    "old one made anew, not noted": before("note made anew"),
    "old one made anew and noted": after("note made anew"),
    "made anew and started, half of the old one there": after("POST /containers/[^/]+/start", time=3),
    "half of the old one removed": after("DELETE /containers/[^/]+", time=2),
    "reverted to what was made anew": after("commit revert"),
    "what was made anew has its name": after("POST /containers/[^/]+/rename"),
}
WITH_HOOK = {
    "cutover claimed": after("claim cutover"),
    "hook told, not committed": after("hook cutover deployed"),
    "cutover committed, next not sent": after("commit cutover"),
    "promoted, hook told": before("commit promote"),
    "closed, hook not told of the end": before("hook retired deployed"),
}
HOOK_REFUSES = {
    "hook has refused, not committed": before("commit cutover"),
    "refusal committed, revert not sent": after("commit cutover"),
    "revert claimed": after("claim revert"),
    # It left both networks once, for its aliases.
    "candidate off the shared network again": after("POST /networks/[^/]+/disconnect", time=3),
    "candidate off the further network again": after("POST /networks/[^/]+/disconnect", time=4),
    "hook led back, not committed": after("hook cutover reverted"),
    "led back, committed": after("commit revert"),
}
STOP_OF_TWO = {
    "stop recorded, step not sent": after("accept"),
    "stop claimed": after("claim stop"),
    "two to stop noted, step not sent again": after("commit stop"),
    "restart policy taken, not stopped": after("POST /containers/[^/]+/update"),
    "one stopped, not committed": after("POST /containers/[^/]+/stop"),
    "one stopped, the other not begun": after("commit stop", time=2),
    "both stopped, not committed": before("commit stop", time=3),
    "stop committed, report not sent": after("commit stop", time=3),
    "stop's result stored, not closed": after("result SUCCESS"),
}
RESTART_OF_TWO = {
    "restart policy given back, not restarted": after("POST /containers/[^/]+/update"),
    "one restarted, not committed": after("POST /containers/[^/]+/restart"),
    "one restarted, the other not begun": after("commit restart", time=2),
    "both restarted, not committed": before("commit restart", time=3),
}
REMOVAL_OF_TWO = {
    "one stopped to be removed": after("POST /containers/[^/]+/stop"),
    "one removed, not committed": after("DELETE /containers/[^/]+"),
    "both removed, not committed": before("commit remove", time=3),
    "removal closed": after("close"),
}
ORDERS = {
    "stop of two": {"action": "stop", "timeout": 0},
    "restart of two": {"action": "restart", "timeout": 0},
    "removal of two": {"action": "remove", "timeout": 0, "force": True},
}
STORIES = {
    "replacement": REPLACEMENT,
    "stop-first": STOP_FIRST,
    "stop-first and broken": STOP_FIRST_AND_BROKEN,
    "half of the old one": HALF_STARTED,
    "with hook": WITH_HOOK,
    "hook refuses": HOOK_REFUSES,
    "first deployment": FIRST_DEPLOYMENT,
    "followed by another": FOLLOWED_BY_ANOTHER,
    "broken image": BROKEN_IMAGE,
    "candidate ends": CANDIDATE_ENDS,
    "candidate killed": CANDIDATE_KILLED,
    "stop of two": STOP_OF_TWO,
    "restart of two": RESTART_OF_TWO,
    "removal of two": REMOVAL_OF_TWO,
}
IMAGES = {
    "broken image": "broken",
    "stop-first and broken": "broken",
    "half of the old one": "broken",
    "candidate ends": "ending",
}
STOPS_FIRST = {"stop-first", "stop-first and broken", "half of the old one"}
HOOKED = {"stop-first and broken", "half of the old one", "with hook", "hook refuses"}
FAILS = {
    "broken image": "StartFailed",
    "stop-first and broken": "StartFailed",
    "half of the old one": "StartFailed",
    "candidate ends": "StartFailed",
    "hook refuses": "CutoverFailed",
}
CASES = [(story, point) for story, points in STORIES.items() for point in points]


@dataclass
class Outcome:
    """What became of a case, seen from outside."""

    exit_status: int | None = None
    """Of the doomed worker."""
    seconds: float = 0
    """From the kill until all had ended."""
    before: str | None = None
    """The container that served before."""
    known_as: str | None = None
    """The same, as the record of its deployment calls it at the end."""
    result: object = None
    containers: list[dict] = field(default_factory=list)
    remains: dict = field(default_factory=dict)
    wanted_name: str = ""
    alias: str = ""
    led_to: dict | None = None
    """What the hook was told at last."""
    networks: tuple[str, ...] = ()
    failure: str = ""
    logs: str = ""


class Lane:
    """An installation in which cases run one after the other."""

    def __init__(self, url, stack, folder, images):
        self.installation = Installation(url, folder)
        self.images = images
        self.client = stack.enter_context(contextlib.closing(Celery(broker=url, backend=url, set_as_current=False)))
        self.engine = stack.enter_context(contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto")))
        self.redis = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
        self.hook = stack.enter_context(Hook(self.installation.environment["DW_CUTOVER_KEY"]))
        stack.callback(self.hook.shutdown)
        threading.Thread(target=self.hook.serve_forever, daemon=True).start()
        # pytest's own folders can be longer than the 107 bytes that a socket's path may have.
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="dw-"))
        self.proxy = EngineProxy(Path(short) / "engine.sock", required("DOCKER_HOST"))
        stack.callback(self.proxy.close)
        self.further = f"{self.installation.namespace}-further"
        ours = {"docker-watcher.namespace": self.installation.namespace}
        stack.callback(remove_managed, self.engine, self.installation.namespace)
        self.engine.create_network(self.further, labels=ours)
        self.installation.environment |= SHORTENED
        self.installation.add_credential()

    def play(self, story, doom):
        """Deploy, kill at the point, have another worker go on, and see what came of it."""
        outcome = Outcome()
        stage = Stage(self.client, self.engine, self.installation)
        log = self.installation.folder / f"{stage.project}.log"
        self.forget()
        try:
            self._play(story, doom, stage, log, outcome)
        except Exception as error:  # noqa: BLE001  # told by the test whose case it is
            outcome.failure = f"{type(error).__name__}: {error}"
        stage.clear()
        outcome.logs = log.read_text() if log.exists() else ""
        return outcome

    def _play(self, story, doom, stage, log, outcome):
        network = f"{stage.project}-net" if story == "first deployment" else self.installation.network
        environment = {**self.installation.environment, "DW_NETWORK": network}
        if story == "half of the old one":
            environment["DOCKER_HOST"] = f"unix://{self.proxy.server_address}"
        outcome.networks = (network, self.further)
        self.hook.told.clear()
        self.hook.on_told = lambda told: self._answer(story, told)
        with working(environment, log, doom) as doomed:
            if story != "first deployment":
                old = self._done(stage, "docker.deploy", self._deployment(stage, "old"))
                outcome.before = old["container_id"]
                self.proxy.spoiled = (f"POST /containers/{outcome.before}/start", "half-started")
            if story in ORDERS:
                self._done(stage, "docker.deploy", self._deployment(stage, "new", keep=2))
            if story == "restart of two":
                self._done(stage, "docker.stage", self._order(stage, "stop of two"))
            doom.armed.set()
            if story in ORDERS:
                sent = stage.send("docker.stage", **self._order(stage, story))
            else:
                asked = self._deployment(stage, IMAGES.get(story, "new"), **self._more(story))
                sent = stage.send("docker.deploy", **asked)
            if story == "followed by another":
                stage.until(lambda: stage.record(sent.id))
                last = stage.send("docker.deploy", **self._deployment(stage, "old"))
            doomed.join(ENDS_WITHIN)
            outcome.exit_status = doomed.exitcode
        killed = time.monotonic()
        if story in {"candidate ends", "candidate killed"}:
            end = self.engine.stop if story == "candidate ends" else self.engine.kill
            end(self._candidate(stage, sent.id))
        with working(environment, log):
            outcome.result = sent.get(timeout=ENDS_WITHIN, propagate=False)
            if story == "followed by another":
                outcome.before, outcome.result = None, last.get(timeout=ENDS_WITHIN, propagate=False)
            outcome.remains = self.settled(stage, killed + ENDS_WITHIN)
            outcome.seconds = time.monotonic() - killed
            outcome.containers = [self.engine.inspect_container(each["Id"]) for each in stage.containers()]
            if story != "first deployment":
                outcome.known_as = json.loads(stage.record(old["deployment_id"])["found"])["container_id"]
        outcome.led_to = next((each for each in reversed(self.hook.told) if each["event"] == "cutover"), None)
        outcome.alias = stage.project
        outcome.wanted_name = f"/{self.installation.namespace}-{stage.project}-{stage.name}-latest"

    def _deployment(self, stage, image, **more):
        return stage.deployment(self.images[image], aliases=[stage.project], network=self.further, **more)

    def _order(self, stage, story):
        return {"project": stage.project, "stage": stage.name, **ORDERS[story]}

    def _done(self, stage, task, arguments):
        """The result of what is at its end: else its last effects would be taken for those of the next one."""
        sent = stage.send(task, **arguments)
        result = sent.get(timeout=ENDS_WITHIN)
        stage.until(lambda: stage.record(sent.id).get("step") == "ended")
        return result

    def _more(self, story):
        """What its deployment asks for beside what all do."""
        strategy = {"strategy": "stop-first"} if story in STOPS_FIRST else {}
        return strategy | ({"cutover": {"url": self.hook.url}} if story in HOOKED else {})

    def _answer(self, story, told):
        self.hook.statuses = [409] if story == "hook refuses" and told["reason"] == "deployed" else []

    def forget(self):
        """What a case that failed has left is none of the next one's business."""
        for key in self.redis.scan_iter():
            if not key.endswith(":credentials"):
                self.redis.delete(key)

    def _candidate(self, stage, deployment_id):
        (made,) = (
            each["Id"] for each in stage.containers() if each["Labels"]["docker-watcher.deployment-id"] == deployment_id
        )
        return made

    def settled(self, stage, deadline):
        """What remains once all is quiet, or at the deadline."""
        quiet = 0
        # Two looks: a message that a worker takes is for a moment neither in its queue nor among the unacknowledged.
        while quiet < 2 and time.monotonic() < deadline:
            found = self.remains(stage)
            quiet = 0 if found else quiet + 1
            time.sleep(0.1)
        return found

    def remains(self, stage):
        """What is still under way, or was left."""
        prefix = f"dw:{self.installation.namespace}:"
        held = self.redis.hmget(f"{prefix}stage:{stage.project}/{stage.name}", "running", "waiting")
        found = {
            "stage": [each for each in held if each],
            "alarms": self.redis.zrange(f"{prefix}alarms:local", 0, -1),
            "unacked": list(self.redis.hgetall("dw.unacked").values()),
            "queued": [
                message
                for queue in ("celery", f"dw.{self.installation.namespace}.local")
                for message in self.redis.lrange(queue, 0, -1)
            ],
            "records": [
                key for key in self.redis.scan_iter(f"{prefix}deployment:*") if self.redis.hget(key, "step") != "ended"
            ],
        }
        return {what: left for what, left in found.items() if left}


@contextlib.contextmanager
def working(environment, log, doom=None):
    """A worker that is killed at the end, if it lives to see it: what it left must not depend on its goodbye."""
    process = start_worker(environment, log, doom)
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture
def outcomes(tmp_path_factory, images):
    """What became of each case, by story and point; POINT=text plays those alone whose points have it."""
    asked = [case for case in CASES if os.environ.get("POINT", "") in case[1]]
    made = {
        "old": images("old", "latest", healthcheck=None),
        "new": images("new", "latest", healthcheck=None),
        "ending": images("ending", "latest", healthcheck=None, command=ENDS_WITH_3),
        "broken": images("exits", "latest", healthcheck=None, command=["/bin/busybox", "sh", "-c", "exit 3"]),
    }
    lanes = queue.SimpleQueue()

    def play(case):
        story, point = case
        lane = lanes.get()
        try:
            return lane.play(story, Doom(**STORIES[story][point]))
        finally:
            lanes.put(lane)

    with contextlib.ExitStack() as stack:
        # Each lane has a database, and nobody else has any of this Redis'.
        own = stack.enter_context(compose_redis.private(tmp_path_factory.mktemp("redis")))
        numbers = range(min(LANES, len(asked)))
        pool = stack.enter_context(ThreadPoolExecutor(len(numbers)))
        for number in numbers:
            url = f"{own.url.removesuffix('/0')}/{number}"
            lanes.put(Lane(url, stack, tmp_path_factory.mktemp(f"lane{number}"), made))
        yield dict(zip(asked, pool.map(play, asked), strict=True))


# One test of all: the cases share databases, which two test processes can't.
def test_another_worker_ends_it(outcomes, subtests, record_property):
    rows = [[point, told(each), f"{each.seconds:.1f}"] for (_, point), each in outcomes.items()]
    record_property("kill_points", rows)
    for (story, point), outcome in outcomes.items():
        with subtests.test(point):
            sys.stdout.write(outcome.logs)
            check(story, outcome)


def check(story, outcome):
    # 255 is what multiprocessing has of a worker whose end its fork server could not tell.
    assert outcome.exit_status in {-9, 255}, f"the point was never reached: {outcome.failure or outcome.result!r}"
    assert outcome.failure == ""
    assert outcome.remains == {}
    assert outcome.seconds < ENDS_WITHIN
    if story in ORDERS:
        check_order(story, outcome)
    else:
        check_deployment(story, outcome)


def check_order(story, outcome):
    results = outcome.result["containers"]
    assert len(results) == 2
    found = [(each["State"]["Status"], each["HostConfig"]["RestartPolicy"]["Name"]) for each in outcome.containers]
    left = {"stop of two": [("exited", "no")] * 2, "restart of two": [("running", "always")] * 2, "removal of two": []}
    assert found == left[story]
    if story == "restart of two":
        # Listed newest first, and restarted in the other order.
        bound = [each["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"] for each in reversed(outcome.containers)]
        assert [each["ports"] for each in results] == [{"8080/tcp": int(each)} for each in bound]


def check_deployment(story, outcome):
    (container,) = outcome.containers
    assert container["State"]["Status"] == "running"
    assert container["Name"] == outcome.wanted_name
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "always"
    joined = container["NetworkSettings"]["Networks"]
    assert set(joined) == set(outcome.networks)
    assert all(outcome.alias in each["Aliases"] for each in joined.values())
    if story in HOOKED:
        assert outcome.led_to["container_id"] == container["Id"]
        bound = container["NetworkSettings"]["Ports"]["8080/tcp"]
        assert str(outcome.led_to["ports"]["8080/tcp"]) in {each["HostPort"] for each in bound}
    if story in FAILS:
        assert type(outcome.result).__name__ == FAILS[story]
        assert container["Id"] == outcome.known_as
        assert (container["Id"] != outcome.before) == (story == "half of the old one")
    else:
        assert outcome.result["state"] == "live"
        assert container["Id"] == outcome.result["container_id"]
        assert container["Id"] != outcome.before


def told(outcome):
    if isinstance(outcome.result, dict):
        return str(outcome.result.get("state", "done"))
    return type(outcome.result).__name__ if outcome.result else outcome.failure or "no result"
