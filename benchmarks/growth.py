"""What grows with an installation: a deployment, a stage's list, reconciling; each against the same at size 1.

Both sides have a Redis, an engine that answers at once, and a worker of their own. The larger side's Redis has the
records of other hosts as well, and while it is its turn these hosts' idle workers ask Redis for what is due, once a
second each, from one process.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import redis

from benchmarks import instant
from benchmarks.installation import Installation, ended
from benchmarks.measure import Line, Spread, in_turn, ratios, say, seconds_of
from benchmarks.overhead import IMAGE
from compose import redis as redis_service
from compose.engine import connect
from compose.ports import free_port
from worker.labels import Label, Labels
from worker.orders import key_prefix
from worker.record import Found, Version
from worker.settings import Settings
from worker.spec import DeploymentSpec
from worker.store import Deployments

_BATCH = 20


@dataclass(frozen=True)
class Size:
    """How large an installation is."""

    hosts: int = 1
    records: int = 0
    """Of all hosts together; two a stage."""
    containers: int = 1
    """On the engine of the host that is measured, each of a stage of its own with a record."""

    @property
    def stages(self) -> int:
        """How many the host that is measured has, of which reconciling must look at each."""
        return self.containers + self.records // 2 // self.hosts

    @property
    def told(self) -> str:
        return f"{self.hosts:,} hosts, {self.records:,} records, {self.containers:,} containers on the host"


SIZES = (
    Size(hosts=10),
    Size(hosts=100),
    Size(hosts=1000),
    Size(records=100_000),
    Size(hosts=1000, records=100_000),
    Size(containers=10_000),
)
QUICK = (Size(hosts=3, records=12, containers=4),)


def run(*, quick: bool = False) -> list[Line]:
    """Each size against size 1."""
    rounds = 1 if quick else 5
    lines = []
    for size in QUICK if quick else SIZES:
        say(f"growth: {size.told}; against 1 host, no other records, 1 container")
        with instant.engines(2) as engines, side(engines[0], Size()) as small, side(engines[1], size) as large:
            lines += _compared(small, large, rounds)
    return lines


class Side:
    """An installation of a size, with its worker."""

    def __init__(self, ours: Installation, size: Size, others: "subprocess.Popen[str] | None") -> None:
        self.ours = ours
        self.size = size
        self._others = others

    @contextlib.contextmanager
    def its_turn(self) -> Iterator[None]:
        """The other hosts' workers ask as long as the block runs."""
        if self._others is None:
            yield
            return
        self._tell("go")
        yield
        self._tell("rest")

    def deployment(self) -> float:
        """Milliseconds of each of a row of deployments."""
        with self.its_turn():
            taken = seconds_of(lambda: [ended([self.ours.deploy(IMAGE)]) for _ in range(_BATCH)])
        return taken / _BATCH * 1000

    def listing(self) -> float:
        """Milliseconds of `docker.list` of one stage."""
        with self.its_turn():
            return self._asked("docker.list", 5 * _BATCH, project="many", stage="s0", all=True)

    def reconciling(self) -> float:
        """Milliseconds of `docker.reconcile`."""
        with self.its_turn():
            # With few stages it takes little, and much of that may be a turn of the other hosts' workers.
            return self._asked("docker.reconcile", _BATCH if self.size.stages < _BATCH else 1)

    def _asked(self, task: str, times: int, **arguments: object) -> float:
        queue = f"dw.{self.ours.namespace}.local" if task == "docker.reconcile" else "celery"

        def ask() -> list[Any]:
            return [
                self.ours.client.send_task(task, kwargs=arguments, queue=queue).get(timeout=600) for _ in range(times)
            ]

        return seconds_of(ask) / times * 1000

    def _tell(self, word: str) -> None:
        if self._others is None or self._others.stdin is None or self._others.stdout is None:
            raise AssertionError("it was started with both")
        self._others.stdin.write(f"{word}\n")
        self._others.stdin.flush()
        self._others.stdout.readline()


@contextlib.contextmanager
def side(engine: str, size: Size) -> Iterator[Side]:
    """Fill a Redis and an engine, and start a worker and what stands for the other hosts' workers."""
    with contextlib.ExitStack() as stack:
        ours = Installation(engine, DW_RECONCILE_SECONDS="86400")
        url = stack.enter_context(_own_redis(ours.folder))
        ours.use(url)
        stack.enter_context(ours)
        began = time.monotonic()
        _fill(ours, size)
        say(f"  {size.told}: filled in {time.monotonic() - began:.0f} s")
        others = None
        if size.hosts > 1:
            command = [sys.executable, "-m", "benchmarks.hosts", url, ours.namespace, str(size.hosts)]
            others = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(others)
            stack.callback(others.terminate)
        stack.enter_context(ours.worker())
        yield Side(ours, size, others)


@contextlib.contextmanager
def _own_redis(state: Path) -> Iterator[str]:
    port = free_port()
    folder = state / f"redis-{port}"
    folder.mkdir()
    daemon = redis_service.daemon(f"redis-{port}", state, folder, port)
    url = f"redis://127.0.0.1:{port}/0"
    daemon.start()
    try:
        daemon.wait_until(lambda: redis_service.answers(url), 20)
        yield url
    finally:
        daemon.stop()


def _fill(ours: Installation, size: Size) -> None:
    """Write containers with their records, and the other stages' records, each by the store's own script."""
    with redis.Redis.from_url(ours.redis_url, decode_responses=True) as connection:
        with contextlib.closing(connect(ours.engine)) as api:
            for number in range(size.containers):
                _run_one(api, _records(connection, ours, 0), ours.namespace, number)
        for number in range(size.records // 2):
            _write_two(_records(connection, ours, number % size.hosts), number)


def _records(connection: redis.Redis, ours: Installation, host: int, _kept: dict[Any, Deployments] = {}) -> Deployments:  # noqa: B006  # kept on purpose
    key = (ours.namespace, host)
    if key not in _kept:
        values = Settings(namespace=ours.namespace, host="local" if host == 0 else f"h{host}")
        _kept[key] = Deployments(connection, key_prefix(values), values)
    return _kept[key]


def _run_one(api: docker.APIClient, records: Deployments, namespace: str, number: int) -> None:
    spec = DeploymentSpec(project="many", stage=f"s{number}", image=IMAGE)
    labels = Labels("docker-watcher", namespace)
    deployment = f"d{number}"
    made = api.create_container(
        image="sha256:1",
        name=f"{namespace}-{number}",
        labels={
            **labels.select(project=spec.project, stage=spec.stage, deployment=deployment),
            labels.key(Label.FINGERPRINT): "f",
        },
        host_config=api.create_host_config(restart_policy={"Name": "always"}),
    )
    api.start(made["Id"])
    (listed,) = api.containers(filters={"name": f"^/{namespace}-{number}$"})
    ports = {"8080/tcp": listed["Ports"][0]["PublicPort"]}
    found = Found(container_id=made["Id"], container_name=f"{namespace}-{number}", image_id="sha256:1", ports=ports)
    records.adopt(deployment, spec, found, time.time())


def _write_two(records: Deployments, number: int) -> None:
    spec = DeploymentSpec(project="others", stage=f"s{number}", image=IMAGE)
    before = Version(deployment_id=f"b{number}", spec=spec, image_id="sha256:1", created=time.time())
    records.adopt(f"o{number}", spec, Found(image_id="sha256:1"), time.time(), before)


def _compared(small: Side, large: Side, rounds: int) -> list[Line]:
    lines = []
    for what, measure, most in (
        ("a deployment", Side.deployment, 1.2),
        ("`docker.list` of one stage", Side.listing, 1.2),
        ("reconciling", Side.reconciling, 1.2 * large.size.stages),
    ):
        for each in (small, large):
            measure(each)
        ours, other = in_turn(rounds, lambda m=measure: m(large), lambda m=measure: m(small))  # type: ignore[misc]
        lines.append(_line(what, large.size, ours, other, most))
    return lines


def _line(what: str, size: Size, ours: Spread, other: Spread, most: float) -> Line:
    found = ratios(ours, other)
    say(f"  {what}: {ours.shown(' ms')}, at size 1 {other.shown(' ms')}: ratio {found.shown()}")
    return Line(f"{what}, {size.told}", "the same at size 1", found.shown(), f"<= {most:,.1f}", found.middle <= most)
