"""Cases against one real worker, some at a time, and all that must hold after each batch."""

import contextlib
import json
import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import docker
import redis
from celery import Celery

from compose.jobimage import SERVE, build_job_image, push
from tests.engine_calls import patterns
from tests.engine_proxy import EngineProxy
from tests.flow.conftest import Installation
from tests.flow.envelope import QUEUE, message
from tests.flow.hook import Hook
from tests.fuzz import cases
from tests.fuzz.verdict import REFUSALS, Bounds, judge_outcome
from tests.services import remove_managed, required

BATCH = 25
PATIENCE = 8
"""Seconds after which what a batch's deployments still wait for is cancelled: an hour of stability, for one."""
LONGEST = 60
MOST_CONTAINERS = 12
ENOUGH = 10
"""Breaches after which no further batch is sent."""
DEPLOYING = {"docker.deploy", "docker.rollback", "docker.stage"}
POLICY = """
images = ["{registry}/{ns}/*"]
stages = ["fuzz-a/staging", "fuzz-a/next", "fuzz-b/staging", "fuzz-b/next"]
networks = {networks}
aliases = ["{{project}}-web"]
labels = ["team", "fuzz.**"]
volumes = {volumes}
host_ports = ["{ports[0]}-{ports[1]}"]
hooks = ["http://127.0.0.1:*/cutover"]
memory = {memory}
cpus = {cpus}
pids = {pids}
capabilities = {capabilities}
"""


@dataclass
class Tally:
    """What has become of the cases so far."""

    outcomes: Counter = field(default_factory=Counter)
    """By task, and by the error's type, `done`, or `unanswered` for what no answer can be sent to."""
    breaches: list[str] = field(default_factory=list)
    seconds: float = 0

    def count(self, *kinds):
        return sum(count for (_, kind), count in self.outcomes.items() if kind in kinds)

    @property
    def cases(self):
        return self.outcomes.total()

    @property
    def summary(self):
        refused, done, silent = self.count(*REFUSALS), self.count("done"), self.count("unanswered")
        kinds = Counter(kind for (_, kind), count in self.outcomes.items() for _ in range(count))
        return (
            f"{self.cases} cases in {self.seconds:.0f} s: {refused} refused, {done} done, "
            f"{self.cases - refused - done - silent} failed in being done, {silent} without anybody to answer; "
            f"{len(self.breaches)} breaches\n{', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}"
        )


class Recorder(EngineProxy):
    """Writes down what the engine is asked for, and looks at each container before the worker knows that it is made."""

    def __init__(self, path, upstream):
        super().__init__(path, upstream)
        self.api = docker.APIClient(upstream, version="auto")
        self.requests = []
        self.made = []

    def pass_on(self, handler, request):
        line = request.split(b"\r\n")[0].decode(errors="replace").removesuffix(" HTTP/1.1")
        self.requests.append(line)
        if not re.match(r"POST /v[0-9.]+/containers/create\b", line):
            super().pass_on(handler, request)
            return
        answer = []
        handler.forward(request, answer.append)
        if made := re.search(rb'"Id": ?"([0-9a-f]{64})"', b"".join(answer)):
            self.made.append(self.api.inspect_container(made[1].decode()))
        handler.wfile.write(b"".join(answer))

    def close(self):
        super().close()
        self.api.close()


def run(redis_url, drawn, *, seconds=None, skip=0, tell=lambda _: None):
    """Send these cases, but for the first batches, until all are sent, something is wrong, or time is over."""
    began = time.monotonic()
    batches = [drawn[first : first + BATCH] for first in range(0, len(drawn), BATCH)]
    tally = Tally()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dw-")))
        campaign = Campaign(redis_url, folder, stack, tally)
        for number, batch in enumerate(batches[skip:], start=skip):
            campaign.send(number, batch)
            tally.seconds = time.monotonic() - began
            tell(f"batch {number}: {tally.summary.splitlines()[0]}")
            if (
                campaign.worker.poll() is not None
                or len(tally.breaches) >= ENOUGH
                or (seconds and tally.seconds > seconds)
            ):
                break
    return tally


class Campaign:
    """The services, the worker and what is there to be asked about, until the stack is closed."""

    def __init__(self, redis_url, folder, stack, tally):
        self.tally = tally
        self.engine = stack.enter_context(contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto")))
        self.keys = stack.enter_context(redis.Redis.from_url(redis_url, decode_responses=True))
        self.client = stack.enter_context(Celery(broker=redis_url, backend=redis_url, set_as_current=False))
        self.proxy = stack.enter_context(contextlib.closing(Recorder(folder / "engine.sock", required("DOCKER_HOST"))))
        self.installation = Installation(redis_url, folder)
        self.namespace = self.installation.namespace
        stack.callback(self._remove_all)
        hook = stack.enter_context(Hook(self.installation.environment["DW_CUTOVER_KEY"]))
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        stack.callback(hook.shutdown)
        self.known = self._prepare(folder) | {"hook": hook.url}
        self.foreign = self._state_of_foreign()
        self.worker = stack.enter_context(self.installation.worker(self.client))
        (self.log,) = folder.glob("worker-*.log")
        self.read = 0
        self.succeeded = set()
        self.retired = set()

    def _prepare(self, folder):
        """The policy, an image, a credential, and a container that isn't ours; returns what cases call them."""
        its = self.installation
        ns = its.namespace
        lists = {"networks": cases.NETWORKS, "volumes": cases.VOLUMES}
        policy = folder / "policy.toml"
        policy.write_text(
            POLICY.format(
                ns=ns,
                registry=its.registry,
                ports=cases.HOST_PORTS,
                memory=cases.MEMORY,
                cpus=cases.CPUS,
                pids=cases.PIDS,
                capabilities=json.dumps(cases.CAPABILITIES),
                **{name: json.dumps([each.format(ns=ns) for each in values]) for name, values in lists.items()},
            )
        )
        its.environment |= {
            "DOCKER_HOST": f"unix://{self.proxy.server_address}",
            "DW_POLICY_FILE": str(policy),
            "DW_PUBLISH_ADDRESS": "127.0.0.1",
            "DW_PORT_RANGE": "{}-{}".format(*cases.KEPT_PORTS),
            "DW_STABLE_SECONDS": "0",
            "DW_DRAIN_SECONDS": "0",
            "DW_DEPLOY_TIMEOUT": "20",
        }
        its.add_credential()
        sealed = its.dw("seal", "fuzz-a/staging", "TOKEN", input="secret")
        assert sealed.returncode == 0, sealed.stderr
        image = its.image("job", "v1")
        # Without a health check it is proven at once.
        build_job_image(self.engine, image, page="job", command=SERVE, healthcheck=None)
        self.engine.tag(image, image.removesuffix(":v1"), "v2")
        push(self.engine, its.image("job", "v2"), its.username, its.password)
        digest = push(self.engine, image, its.username, its.password)
        for name in cases.NETWORKS:
            self.engine.create_network(name.format(ns=ns), labels={"docker-watcher.namespace": ns})
        self.engine.create_network(its.network, labels={"docker-watcher.namespace": ns})
        self.bounds = Bounds(ns, its.network, self._plain(image))
        foreign = self._make_foreign(image)
        return {
            "ns": ns,
            "registry": its.registry,
            "image": image,
            "other": its.image("job", "v2"),
            "digest": digest,
            "sealed": sealed.stdout.strip(),
            "foreign": foreign,
            "foreign:12": foreign[:12],
            "foreign-name": f"{ns}-fuzz-a-staging-v0",
        }

    def _plain(self, image):
        config = self.engine.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(cases.CAPABILITIES),
            security_opt=["no-new-privileges"],
            log_config={"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        )
        made = self.engine.create_container(image, host_config=config)["Id"]
        found = self.engine.inspect_container(made)
        self.engine.remove_container(made)
        return found

    def _make_foreign(self, image):
        """One that says to be ours in all but its namespace."""
        labels = {"project": "fuzz-a", "stage": "staging", "namespace": "another", "deployment-id": "another"}
        made = self.engine.create_container(
            image,
            name=f"{self.namespace}-fuzz-a-staging-v0",
            labels={f"docker-watcher.{name}": value for name, value in labels.items()},
            host_config=self.engine.create_host_config(network_mode="none"),
        )["Id"]
        self.engine.start(made)
        return made

    def _state_of_foreign(self):
        found = self.engine.inspect_container(self.known["foreign"])
        return [found[key] for key in ("Name", "State", "RestartCount", "HostConfig", "NetworkSettings")]

    def send(self, number, batch):
        """Send some cases at once, await what becomes of them, and look at everything."""
        known = self.known | self._targets()
        sent = {}
        for case in batch:
            task_id = self._send(case, known)
            known["deployment"] = task_id
            sent[task_id] = case
        breaches = self._judge_outcomes(sent) + self._judge_rest(sent)
        self.tally.breaches += [f"batch {number}: {each}" for each in breaches]
        if len(self._containers()) > MOST_CONTAINERS:
            self._remove_containers()

    def _targets(self):
        """What cases call a container that is there, and a deployment before theirs."""
        found = next(iter(self._containers()), {"Id": 64 * "0", "Names": ["/none"], "Labels": {}})
        deployment = found["Labels"].get("docker-watcher.deployment-id", "none")
        container = found["Id"]
        return {
            "container": container,
            "container:12": container[:12],
            "container:4": container[:4],
            "name": found["Names"][0][1:],
            "deployment": deployment,
        }

    def _send(self, case, known):
        filled = partial(fill, known=known)
        arguments, positional, envelope = filled(case.arguments), filled(case.positional), filled(case.envelope)
        body = json.dumps([positional, arguments, envelope.get("embedded", {})]).encode()
        task_id, raw = message(
            envelope.get("body", body),
            {"task": case.task, **envelope.get("headers", {})},
            envelope.get("properties"),
        )
        raw = json.dumps(envelope.get("raw", json.loads(raw) | envelope.get("whole", {})))
        self.keys.lpush(QUEUE, raw)
        return task_id

    def _judge_outcomes(self, sent):
        owed = {task_id for task_id, case in sent.items() if not case.envelope}
        found = self._await(owed, PATIENCE)
        # Also those whose envelope may have kept them from being taken.
        slow = [task_id for task_id, case in sent.items() if case.task in DEPLOYING and task_id not in found]
        for task_id in slow:
            self.client.send_task("docker.cancel", kwargs={"deployment_id": task_id}, ignore_result=True)
        found = self._await(owed, LONGEST)
        quiet = self._await_quiet()
        found = self._await(sent.keys(), 0)
        breaches = [] if quiet else [f"it is not quiet: {self._under_way()}"]
        for task_id, case in sent.items():
            outcome = found.get(task_id)
            kind = "unanswered"
            if outcome:
                kind = "done" if outcome["status"] == "SUCCESS" else (outcome["result"] or {}).get("exc_type", "?")
            self.tally.outcomes[case.task, kind] += 1
            if kind == "done":
                self.succeeded.add(task_id)
                if case.task in {"docker.deploy", "docker.rollback"}:
                    self.retired |= set(outcome["result"].get("replaced", ()))
            if outcome is None and task_id in owed:
                breaches.append(f"no answer to {told(case)}")
            elif outcome and not (case.envelope and outcome["status"] == "REVOKED"):
                wrong = judge_outcome(case.task, outcome)
                breaches += [f"{wrong}, asked for {told(case)}"] if wrong else []
        return breaches

    def _await(self, task_ids, seconds):
        """The outcomes of those that have one, once all have, or after so long."""
        deadline = time.monotonic() + seconds
        found = {}
        while True:
            asked = [task_id for task_id in task_ids if task_id not in found]
            answers = self.keys.mget([f"celery-task-meta-{each}" for each in asked]) if asked else []
            outcomes = {each: json.loads(text) for each, text in zip(asked, answers, strict=True) if text}
            found |= {
                each: outcome
                for each, outcome in outcomes.items()
                if outcome["status"] in {"SUCCESS", "FAILURE", "REVOKED"}
            }
            if len(found) == len(task_ids) or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _await_quiet(self):
        deadline = time.monotonic() + LONGEST
        seen = 0
        # Two looks: a message that is taken is for a moment neither in its queue nor among the unacknowledged.
        while seen < 2 and time.monotonic() < deadline:
            seen = 0 if self._under_way() else seen + 1
            time.sleep(0.05)
        return seen == 2

    def _under_way(self):
        lanes = [QUEUE, f"dw.{self.namespace}.local", f"dw.{self.namespace}.local/pulls"]
        lists = {name: self.keys.lrange(name, 0, 3) for lane in lanes for name in (lane, f"dw.inbox.{lane}")}
        rest = {
            "dw.unacked": self.keys.hvals("dw.unacked"),
            "alarms": self.keys.zrange(f"dw:{self.namespace}:alarms:local", 0, -1),
        }
        return {name: found for name, found in (lists | rest).items() if found}

    def _judge_rest(self, sent):
        breaches = [] if self.worker.poll() is None else ["the worker has ended"]
        breaches += self._judge_requests()
        with self.log.open() as log:
            log.seek(self.read)
            text = log.read()
            self.read = log.tell()
        if found := re.search(r"Traceback|\[critical", text):
            breaches.append(f"the worker said: {text[max(0, found.start() - 500) :]:.3000}")
        made, self.proxy.made = self.proxy.made, []
        containers = [self.engine.inspect_container(each["Id"]) for each in self._containers()]
        breaches += [
            f"container {each['Name']}: {wrong}" for each in [*made, *containers] for wrong in self.bounds.judge(each)
        ]
        for each in containers:
            deployment = each["Config"]["Labels"]["docker-watcher.deployment-id"]
            if deployment not in self.succeeded or each["Id"] in self.retired:
                breaches.append(f"container {each['Name']} is left of {told(sent.get(deployment, deployment))}")
        if self._state_of_foreign() != self.foreign:
            breaches.append("what isn't ours was touched")
        return breaches

    def _judge_requests(self):
        allowed = [re.compile(each) for each in patterns()]
        networks = {each["Id"] for each in self.engine.networks(names=[f"^{name}$" for name in self.bounds.networks()])}
        requests, self.proxy.requests = self.proxy.requests, []
        joined = {found[1] for each in requests if (found := re.search(r"^POST .*/networks/([^/]+)/connect$", each))}
        return [
            *(
                f"the engine was asked for {each}"
                for each in set(requests)
                if not any(rule.search(each) for rule in allowed)
            ),
            *(f"network {each} was joined" for each in joined - networks - self.bounds.networks()),
        ]

    def _containers(self):
        ours = {"label": f"docker-watcher.namespace={self.namespace}"}
        return sorted(self.engine.containers(all=True, filters=ours), key=lambda each: each["Names"])

    def _remove_containers(self):
        for each in self._containers():
            with contextlib.suppress(docker.errors.APIError):
                self.engine.remove_container(each["Id"], force=True, v=True)

    def _remove_all(self):
        with contextlib.suppress(AttributeError):
            self.engine.remove_container(self.known["foreign"], force=True)
        remove_managed(self.engine, self.namespace)
        for name in cases.VOLUMES:
            with contextlib.suppress(docker.errors.NotFound):
                self.engine.remove_volume(name.format(ns=self.namespace))


def fill(value, known):
    """A case's part with what only this run knows in the place of its `{…}`."""
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, list):
        return [fill(each, known) for each in value]
    if isinstance(value, dict):
        return {fill(name, known): fill(each, known) for name, each in value.items()}
    return value


def told(case):
    return f"{case!a:.1500}"
