"""A real worker process, driven by a plain Celery client that imports nothing of this project."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import redis
from celery import Celery
from cryptography.fernet import Fernet

from compose.jobimage import build_job_image, push
from tests.engine_proxy import EngineProxy
from tests.flow.hook import Hook
from tests.services import remove_managed, required

STARTS_WITHIN = 90


@dataclass
class Installation:
    """One docker-watcher of a test process' own: namespace, network, keys, database, registry login."""

    redis_url: str
    folder: Path
    registry: str = field(default_factory=lambda: required("DW_SERVICES_REGISTRY"))
    username: str = field(default_factory=lambda: required("DW_SERVICES_REGISTRY_USER"))
    password: str = field(default_factory=lambda: required("DW_SERVICES_REGISTRY_PASSWORD"))
    namespace: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")

    def __post_init__(self):
        self.network = f"{self.namespace}-net"
        self.environment = {
            **os.environ,
            "DW_REDIS_URL": self.redis_url,
            "DW_NAMESPACE": self.namespace,
            "DW_NETWORK": self.network,
            "DW_NAME_PREFIX": self.namespace,
            "DW_KEYS": Fernet.generate_key().decode(),
            "DW_CUTOVER_KEY": "the hook's own",
            # What makes a test wait, shortened.
            "DW_STABLE_SECONDS": "1",
            "DW_HEALTH_TIMEOUT": "20",
            "DW_STOP_TIMEOUT": "1",
            "DW_PULL_STALL_TIMEOUT": "10",
            "DW_LEASE_SECONDS": "2",
            "DW_DRAIN_SECONDS": "0.2",
        }

    def image(self, repository, tag):
        return f"{self.registry}/{self.namespace}/{repository}:{tag}"

    def run(self, *command, environment=None, **options):
        return subprocess.run(
            command,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )

    def dw(self, *arguments, **options):
        return self.run(Path(sys.executable).with_name("dw"), *arguments, **options)

    def interrupt_dw(self, *arguments):
        """Run `dw`, press Ctrl-C once it has come to the proof, and return what it says to that."""
        with subprocess.Popen(
            [Path(sys.executable).with_name("dw"), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert any("prove" in line for line in process.stderr)
            os.kill(process.pid, signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(40) == 130
        return said

    def add_credential(self):
        added = self.dw(
            *("credential", "add", "registry", "--registry", self.registry),
            *("--username", self.username, "--password-stdin"),
            input=self.password,
        )
        assert added.returncode == 0, added.stderr

    @contextlib.contextmanager
    def process(self, *arguments, app="worker", through=list, **changed):
        """Run `celery -A <app> …` until the block ends; its log is printed if the block fails.

        `through` makes another command of it, as one that gives up rights first.
        """
        log = self.folder / f"{arguments[0]}-{uuid.uuid4().hex[:8]}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                through([sys.executable, "-m", "celery", "-A", app, *arguments]),
                env={**self.environment, **changed},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            sys.stdout.write(f"--- {log.name}\n{log.read_text()}")
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise

    @contextlib.contextmanager
    def worker(self, client, *options, mingles=False, **changed):
        """Run a worker, from the moment it answers."""
        name = f"{uuid.uuid4().hex[:8]}@test"
        # Mingling is a second's wait for the clocks of other workers.
        quick = () if mingles else ("--without-mingle",)
        with self.process("worker", "-n", name, *quick, *options, **changed) as process:
            deadline = time.monotonic() + STARTS_WITHIN
            while not client.control.ping(destination=[name], timeout=0.5):
                assert process.poll() is None, "the worker has ended"
                assert time.monotonic() < deadline, "the worker doesn't answer"
            yield process


@pytest.fixture(scope="session")
def installation(redis_url, tmp_path_factory):
    return Installation(redis_url, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def client(installation):
    """A Celery client as anybody would write it."""
    app = Celery(broker=installation.redis_url, backend=installation.redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture(scope="session")
def engine():
    """The engine itself, to look from outside; removes what a test process has left in its namespace."""
    with contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto")) as api:
        yield api


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing(engine, installation):
    yield
    remove_managed(engine, installation.namespace)


@pytest.fixture(scope="session")
def worker(installation, client, _leave_nothing, images):
    installation.add_credential()
    with installation.worker(client) as process:
        yield process


@pytest.fixture(scope="session")
def images(installation, engine):
    """Push job images by name; `shop:v1` and `shop:v2` serve pages that say so."""

    def make(repository, tag, **options):
        reference = installation.image(repository, tag)
        build_job_image(engine, reference, **{"page": f"{repository} {tag}", **options})
        push(engine, reference, installation.username, installation.password)
        return reference

    make("shop", "v1")
    make("shop", "v2", expose=("8080/tcp", "9090/tcp"))
    return make


@pytest.fixture
def stage(client, engine, installation, worker):
    made = Stage(client, engine, installation)
    yield made
    made.clear()


@pytest.fixture
def unserved_stage(second_redis_url, tmp_path, engine, images, installation):
    """A stage of an installation that no worker serves yet, with the usual one's namespace and keys."""
    another = Installation(second_redis_url, tmp_path, namespace=installation.namespace)
    another.environment["DW_KEYS"] = installation.environment["DW_KEYS"]
    client = Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False)
    made = Stage(client, engine, another)
    yield made
    made.clear()
    client.close()


@pytest.fixture(scope="module")
def engine_proxy():
    """A proxy before the engine, which counts and spoils requests; its `server_address` is the socket."""
    # pytest's own folders can be longer than the 107 bytes that a socket's path may have.
    with tempfile.TemporaryDirectory(prefix="dw-") as folder:
        proxy = EngineProxy(Path(folder) / "engine.sock", required("DOCKER_HOST"))
        yield proxy
        proxy.close()


@contextlib.contextmanager
def served_through(proxy, redis_url, folder, installation, *options, **changed):
    """An installation in the usual one's namespace whose worker reaches the engine by way of a proxy, and a client."""
    another = Installation(redis_url, folder, namespace=installation.namespace)
    another.environment |= {"DOCKER_HOST": f"unix://{proxy.server_address}", **changed}
    another.add_credential()
    client = Celery(broker=redis_url, backend=redis_url, set_as_current=False)
    with another.worker(client, *options):
        yield another, client
    client.close()


@pytest.fixture
def hook(installation, stage):
    with Hook(installation.environment["DW_CUTOVER_KEY"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        return free.getsockname()[1]


@pytest.fixture
def flower(stage):
    """Flower, from the moment that it hears the worker: asked for a path, it gives the page's text."""
    with flower_of(stage) as fetch:
        yield fetch


@contextlib.contextmanager
def flower_of(stage, password=""):
    """Flower of a stage's installation, with a password (`user:password`) or open to this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ask = FlowerClient(f"http://127.0.0.1:{port}", password)
    given = {"FLOWER_BASIC_AUTH": password} if password else {"FLOWER_UNAUTHENTICATED_API": "true"}
    with stage.installation.process("flower", f"--port={port}", **given) as process:
        sent = []

        # Only a task whose events it has seen from the first one proves that it listens. Events come after the result.
        def hears():
            assert process.poll() is None, "Flower has ended"
            sent.append(stage.client.send_task("docker.list"))
            sent[-1].get(timeout=30)
            return any("SUCCESS" in ask(f"/api/task/info/{each.id}") for each in sent[-5:])

        stage.until(hears)
        yield ask


@dataclass
class FlowerClient:
    """Asks Flower for a path, and gives the page's text, or none where there is no such page."""

    url: str
    password: str

    def __call__(self, path, method="GET"):
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        if self.password:
            request.add_header("Authorization", f"Basic {base64.b64encode(self.password.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return ""


def until(condition, seconds=30):
    """Await a condition that an outside process brings about."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return value


def page(result):
    """What a deployment serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{result['ports']['8080/tcp']}/") as answer:
        return answer.read().decode().strip()


@dataclass
class Stage:
    """A stage of a test's own."""

    client: Celery
    engine: docker.APIClient
    installation: Installation
    project: str = field(default_factory=lambda: f"p{uuid.uuid4().hex[:8]}")
    name: str = "staging"

    @property
    def alias(self):
        """One that is no other stage's: a network's aliases are one stage's alone."""
        return f"web-of-{self.project}-{self.name}"

    def ask(self, task, /, **arguments):
        """Send a task and return its result, or raise its error."""
        return self.send(task, **arguments).get(timeout=90)

    def send(self, task, /, **arguments):
        options = {"task_id": arguments.pop("task_id")} if "task_id" in arguments else {}
        return self.client.send_task(task, kwargs=arguments, **options)

    def deployment(self, image, **arguments):
        return {"project": self.project, "stage": self.name, "image": self.image(image), **arguments}

    def deploy(self, image, **arguments):
        return self.ask("docker.deploy", **self.deployment(image, **arguments))

    def image(self, image):
        return image if "/" in image else self.installation.image(*image.split(":"))

    def containers(self):
        """All containers of the project, as the engine itself lists them."""
        return self.engine.containers(all=True, filters={"label": f"docker-watcher.project={self.project}"})

    def clear(self):
        """Remove what is left: the health checks of hundreds of containers would slow all tests that come after."""
        for each in self.containers():
            with contextlib.suppress(docker.errors.APIError):
                self.engine.remove_container(each["Id"], force=True, v=True)

    def record(self, deployment_id):
        with redis.Redis.from_url(self.installation.redis_url, decode_responses=True) as connection:
            return connection.hgetall(f"dw:{self.installation.namespace}:deployment:{deployment_id}")

    def until(self, condition, seconds=30):
        return until(condition, seconds)
