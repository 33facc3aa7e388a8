"""An installation of a benchmark's own: a Redis database, a namespace, workers, and a plain Celery client."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import docker
import redis
from celery import Celery
from celery.result import AsyncResult
from cryptography.fernet import Fernet

from benchmarks import empty
from compose.engine import connect
from compose.jobimage import SERVE, build_job_image
from compose.redis import spare_database

_STARTS_WITHIN = 60
_ENDS_WITHIN = 120

Result = AsyncResult[Any]


class Installation:
    """One docker-watcher; all that it has made goes at its end."""

    def __init__(self, engine: str | None = None, namespace: str | None = None, **settings: str) -> None:
        self.redis_url = spare_database(os.environ["DW_REDIS_URL"])
        self.namespace = namespace or f"bench-{uuid.uuid4().hex[:8]}"
        self.network = f"{self.namespace}-net"
        self.engine = engine or os.environ["DOCKER_HOST"]
        self.folder = Path(os.environ["DW_SERVICES_STATE"])
        self.environment = {
            **os.environ,
            "DOCKER_HOST": self.engine,
            "DW_REDIS_URL": self.redis_url,
            "DW_NAMESPACE": self.namespace,
            "DW_NETWORK": self.network,
            "DW_NAME_PREFIX": self.namespace,
            "DW_KEYS": Fernet.generate_key().decode(),
            **settings,
        }
        self.client = client_of(self.redis_url)
        self._stages = 0

    def use(self, redis_url: str) -> None:
        """Have another Redis than the services'."""
        self.client.close()
        self.redis_url = self.environment["DW_REDIS_URL"] = redis_url
        self.client = client_of(redis_url)

    def __enter__(self) -> Self:
        # A spare database is one that is empty: this one no longer is.
        self.redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.redis.set("taken", self.namespace)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.redis.flushdb()
        self.redis.close()

    def worker(self, **changed: str) -> contextlib.AbstractContextManager[int]:
        """Run a worker, from the moment that it answers; gives its pid."""
        return running(["-A", "worker", "worker"], {**self.environment, **changed}, self.client, self.folder)

    def workers(self, number: int, **changed: str) -> contextlib.AbstractContextManager[list[int]]:
        return several(number, lambda: self.worker(**changed))

    def deploy(self, image: str, **asked: object) -> Result:
        """Send a deployment, of a stage that was never there before unless one is named."""
        self._stages += 1
        where = {"project": "bench", "stage": f"s{self._stages}"}
        arguments = {**where, "image": image, "policy": "missing", "health": {"stable": 0}, **asked}
        return self.client.send_task("docker.deploy", kwargs=arguments)

    def dw(self) -> str:
        return str(Path(sys.executable).with_name("dw"))


@contextlib.contextmanager
def empty_workers(number: int, threads: int, folder: Path, imports: Sequence[str] = ()) -> Iterator[list[int]]:
    """Run workers whose one task does nothing (`benchmarks.empty`), on a database of their own; gives their pids."""
    url = spare_database(os.environ["DW_REDIS_URL"])
    empty.app.conf.update(broker_url=url, result_backend=url)
    arguments = ["-A", "benchmarks.empty", "worker", "-c", str(threads)]
    arguments += [f"--include={','.join(imports)}"] if imports else []
    environment = {**os.environ, "EMPTY_REDIS_URL": url}
    with several(number, lambda: running(arguments, environment, empty.app, folder)) as pids:
        yield pids
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()


def client_of(redis_url: str) -> Celery:
    return Celery(broker=redis_url, backend=redis_url, set_as_current=False)


def ended(results: list[Result], seconds: float = _ENDS_WITHIN) -> list[Any]:
    """Wait for all of them; raises the error of one that has failed."""
    return [each.get(timeout=seconds) for each in results]


@contextlib.contextmanager
def running(arguments: list[str], environment: Mapping[str, str], client: Celery, folder: Path) -> Iterator[int]:
    """Run `celery …` until the block ends."""
    name = f"{uuid.uuid4().hex[:8]}@bench"
    command = [sys.executable, "-m", "celery", *arguments, "-n", name]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT)
    try:
        _await_answer(process, name, client)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: "subprocess.Popen[bytes]", name: str, client: Celery) -> None:
    give_up_at = time.monotonic() + _STARTS_WITHIN
    while not client.control.ping(destination=[name], timeout=0.5):
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"the worker {name} doesn't answer: see its log")


@contextlib.contextmanager
def several(number: int, start: Callable[[], contextlib.AbstractContextManager[int]]) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(start()) for _ in range(number)]


@contextlib.contextmanager
def real_engine() -> Iterator[docker.APIClient]:
    with contextlib.closing(connect(os.environ["DOCKER_HOST"])) as api:
        yield api


def job_image(api: docker.APIClient, tag: str = "v1", **options: Any) -> str:
    """An image of 2 MB that the engine has from now on: no HEALTHCHECK, one port."""
    reference = f"{os.environ['DW_SERVICES_REGISTRY']}/bench/job:{tag}"
    build_job_image(api, reference, page=tag, healthcheck=None, command=SERVE, **options)
    return reference


def clear(api: docker.APIClient, label: str) -> None:
    """Remove the containers and networks with this label."""
    for each in api.containers(all=True, filters={"label": label}):
        api.remove_container(each["Id"], force=True, v=True)
    for network in api.networks(filters={"label": label}):
        api.remove_network(network["Id"])
