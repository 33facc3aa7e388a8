"""The hardened setting: Redis with users and TLS, the engine by TLS, and a worker that isn't root."""

import collections
import contextlib
import fnmatch
import json
import os
import re
import shutil
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from celery.result import ResultSet

from compose.certificates import Authority
from compose.hardened import services as hardened_services
from compose.jobimage import build_job_image, push
from compose.redis import ACL
from compose.unprivileged import USER, command
from tests.flow.conftest import Installation, Stage, page
from tests.services import remove_managed, required
from worker.client import Client
from worker.engine import Engine
from worker.errors import EngineUnavailable
from worker.labels import Labels

pytestmark = pytest.mark.needs_private_engine

ROOT = Path(__file__).parents[2]
SELDOM = {"script|load"}
"""What only the first one does after a restart of Redis."""


class Monitor:
    """Which user has sent which command, and on what, told by Redis."""

    def __init__(self, url):
        self.admin = redis.Redis.from_url(url, socket_timeout=None)
        self.used = collections.defaultdict(lambda: collections.defaultdict(set))
        self._users = {}
        self._last = None

    @contextlib.contextmanager
    def listening(self):
        with self.admin.monitor() as monitor:
            thread = threading.Thread(target=self._listen, args=(monitor,))
            thread.start()
            try:
                yield
            finally:
                self.admin.execute_command("PING", "enough")
                thread.join()

    def _listen(self, monitor):
        while (told := monitor.next_command())["command"] != "PING enough":
            self._heard(told)

    def _heard(self, told):
        name, *arguments = told["command"].replace(r"\x06", "\x06").replace(r"\x16", "\x16").split(" ")
        if name == "HELLO":  # its user is yet to be known
            return
        # What a script does is told right after it.
        user = self._last if told["client_type"] == "lua" else self._user(told)
        if name == "SCRIPT":
            name = f"script|{arguments[0]}"
        self.used[user][name.lower()].update(arguments)
        self._last = user

    def _user(self, told):
        address = f"{told['client_address']}:{told['client_port']}"
        if address not in self._users:
            clients = ((each["addr"], each["user"]) for each in self.admin.client_list())
            # Who has said nothing yet is still to be asked for a password.
            self._users |= {known: user for known, user in clients if user != "default"}
        # Nobody's, where it is gone already.
        return self._users.get(address)


def granted(user):
    """The commands and key patterns that the documented file has for a user."""
    (line,) = (each for each in ACL.read_text().splitlines() if each.startswith(f"user {user} "))
    words = line.split()
    return {each[1:] for each in words if each[0] == "+"}, {each[1:] for each in words if each[0] == "~"}


def in_scripts():
    """The commands of our own scripts, some of which are needed once in a month."""
    sources = [*ROOT.glob("worker/store/*.lua"), ROOT / "worker/broker/intake.py"]
    return {found.lower() for path in sources for found in re.findall(r"redis\.call\('([A-Z]+)'", path.read_text())}


class Hardened(Installation):
    """One whose `dw` and Flower are the operator's."""

    urls: dict
    passwords: dict
    as_worker: dict
    """What a worker's process is started with, to be the worker's."""

    def newest_log(self, program):
        return max(self.folder.glob(f"{program}-*.log"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def hardened(tmp_path_factory, worker_id, engine):
    namespace = f"hardened-{worker_id}"
    with hardened_services(namespace) as setting:
        made = Hardened(setting.urls["operator"], tmp_path_factory.mktemp("hardened"), namespace=namespace)
        made.urls = setting.urls
        made.passwords = {user: urlsplit(url).password for user, url in setting.urls.items()}
        made.as_worker = {"through": command, **setting.worker}
        # The worker may not write the figures of coverage.
        made.environment.pop("COVERAGE_PROCESS_CONFIG", None)
        yield made
    remove_managed(engine, namespace)


@pytest.fixture
def client(hardened):
    """Makes plain Celery clients, by their user."""
    with contextlib.ExitStack() as stack:

        def make(user):
            url = hardened.urls[user]
            return stack.enter_context(contextlib.closing(Celery(broker=url, backend=url, set_as_current=False)))

        yield make


@pytest.fixture
def stage(hardened, client, engine):
    for tag in ("v1", "v2"):
        build_job_image(engine, hardened.image("shop", tag), page=f"shop {tag}")
        push(engine, hardened.image("shop", tag), hardened.username, hardened.password)
    made = Stage(client("producer"), engine, hardened)
    yield made
    made.clear()


def leave_as_a_dead_worker_does(stage):
    """A message that was taken, and is neither done nor given back: by a worker that died after its lease began."""
    left = stage.send("docker.list")
    with redis.Redis.from_url(stage.installation.urls["admin"]) as admin:
        message = admin.rpop("celery")
        tag = json.loads(message)["properties"]["delivery_tag"]
        admin.hset("dw.unacked", tag, json.dumps([json.loads(message), "", "celery"]))
        admin.zadd("dw.unacked_index", {tag: 1})
    return left


def produce(stage):
    assert page(stage.deploy("shop:v1")) == "shop v1"
    assert page(stage.deploy("shop:v2")) == "shop v2"
    asked = [stage.send("docker.list", project=stage.project) for _ in range(2)]
    assert all(each["containers"] for each in ResultSet(asked).join_native(timeout=30))
    with Client(stage.installation.urls["producer"]) as typed:
        again = typed.deploy(stage.project, stage.name, stage.image("shop:v2"))
        assert again.result(60).state == "unchanged"


def spoil(stage):
    """The worst that a producer's rights allow: the shared queue is none any more, until Redis' admin removes it."""
    with redis.Redis.from_url(stage.installation.urls["producer"]) as producer:
        stage.until(lambda: not producer.llen("celery"))
        producer.sadd("celery", "x")
    log = stage.installation.newest_log("worker")
    stage.until(lambda: "WRONGTYPE" in log.read_text())
    with redis.Redis.from_url(stage.installation.urls["admin"]) as admin:
        admin.delete("celery")
    assert stage.ask("docker.list")


def operate(stage):
    where = f"{stage.project}/{stage.name}"
    missing = stage.installation.dw("deploy", where, stage.image("shop:v9"))
    assert "ImageNotFound" in missing.stderr
    for arguments in (
        ("history", where),
        ("rollback", where),
        ("restart", where),
        ("rekey",),
        ("doctor",),
        ("credential", "list"),
        ("credential", "rm", "registry"),
    ):
        ended = stage.installation.dw(*arguments)
        assert ended.returncode == 0, ended.stderr


def operate_hosts(stage, admin):
    """As an operator of several hosts does, one of which is gone for good, with a deployment that waits for it."""
    prefix = f"dw:{stage.installation.namespace}:"
    told = admin.hget(f"{prefix}hosts", "local")
    admin.hset(f"{prefix}hosts", "gone", told)
    admin.zadd(f"{prefix}hosts:seen", {"gone": 1})
    there = f"{stage.project}/{stage.name}"
    waits = stage.send("docker.deploy", **stage.deployment("shop:v1", host="gone") | {"stage": "elsewhere"})
    stage.until(lambda: waits.state == "PROGRESS")
    for code, *arguments in (
        (0, "hosts"),
        # No other host is there.
        (1, "drain", "local", "--move"),
        (0, "drain", "local", "--end"),
        (0, "forget", "gone"),
        (0, "prune", "--dry-run"),
        (0, "ps", there),
    ):
        ended = stage.installation.dw(*arguments)
        assert ended.returncode == code, ended.stderr + ended.stdout
    assert type(waits.get(timeout=30, propagate=False)).__name__ == "EngineUnavailable"


def look(stage, port):
    """What Flower shows of the worker, its settings, and the queues."""

    def fetch(path, asked=None):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", asked, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def hears():
        heard = stage.send("docker.list")
        heard.get(timeout=30)
        return "SUCCESS" in fetch(f"/api/task/info/{heard.id}")

    stage.until(hears)
    stage.until(lambda: "broker_url" in fetch("/api/workers?refresh=1"))
    asked = json.dumps({"kwargs": {"project": stage.project}}).encode()
    assert json.loads(fetch("/api/task/apply/docker.list", asked))["state"] == "SUCCESS"
    assert f"dw.{stage.installation.namespace}.local/quick" in fetch("/broker")
    return fetch("/api/workers") + fetch(f"/worker/{next(iter(json.loads(fetch('/api/workers'))))}")


def test_each_does_its_part_and_has_no_right_that_it_does_not_need(hardened, stage, client, free_port):
    monitor = Monitor(hardened.urls["admin"])
    schedule = Path(tempfile.mkdtemp(prefix="dw-"))
    os.chown(schedule, USER, USER)
    with monitor.listening():
        hardened.add_credential()
        left = leave_as_a_dead_worker_does(stage)
        with hardened.worker(client("admin"), mingles=True, **hardened.as_worker) as worker:
            assert left.get(timeout=30)
            assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in Path(f"/proc/{worker.pid}/status").read_text()
            produce(stage)
            spoil(stage)
            operate(stage)
            operate_hosts(stage, monitor.admin)
            with hardened.process(
                "flower", f"--port={free_port}", "--address=127.0.0.1", FLOWER_UNAUTHENTICATED_API="true"
            ):
                shown = look(stage, free_port)
            log = hardened.newest_log("worker")
            before = log.read_text().count("docker.prune[")
            with hardened.process("beat", "-s", str(schedule / "beat"), DW_PRUNE_SECONDS="1", **hardened.as_worker):
                stage.until(lambda: log.read_text().count("docker.prune[") > before)
    shutil.rmtree(schedule)

    denied = {(each["username"], each["object"]) for each in monitor.admin.acl_log()}
    # From 7.2 on, and with Valkey, the library wants to say its name, and goes on without.
    assert {each for each in denied if each[1] != "client|setinfo"} == set()
    for user in ("worker", "producer", "operator"):
        commands, patterns = granted(user)
        used = monitor.used[user]
        assert commands - used.keys() - monitor.used[None].keys() - SELDOM - in_scripts() == set(), user
        # Who was gone before Redis could be asked who that is may have been this one.
        told = set().union(*used.values(), *monitor.used[None].values())
        names = {pattern.replace("default", hardened.namespace) for pattern in patterns}
        assert {name for name in names if not fnmatch.filter(told, name)} == set(), user
    shown += "".join(path.read_text() for path in hardened.folder.iterdir())
    assert "worker:**@127.0.0.1" in shown
    assert not [user for user, password in hardened.passwords.items() if password in shown]


def test_a_producer_can_neither_read_nor_order_anything_else(hardened):
    namespace = hardened.namespace
    with redis.Redis.from_url(hardened.urls["producer"]) as producer:
        for command_line in (
            f"HGETALL dw:{namespace}:credentials",
            f"HGETALL dw:{namespace}:deployment:x",
            f"GET dw:{namespace}:orders",
            f"LPUSH dw.{namespace}.local x",
            f"LPUSH dw.{namespace}.local/pulls x",
            "LPUSH dw.inbox.celery x",
            "LRANGE celery 0 -1",
            "RPOP celery",
            "DEL celery",
            "HGETALL dw.unacked",
            "SET celery-task-meta-x x",
            "PUBLISH celery-task-meta-x x",
            "PUBLISH /0.celery.pidbox x",
            "PUBLISH /0.celeryev/task.failed x",
            "SUBSCRIBE /0.celeryev/task.failed",
            "PSUBSCRIBE *",
            "SADD _kombu.binding.celery.pidbox x",
            "KEYS *",
            "SCAN 0",
            "EVAL return 0",
            "CONFIG GET *",
            "ACL LIST",
            "MONITOR",
            "FLUSHALL",
            "SELECT 1",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                producer.execute_command(*command_line.split(" "))
    with redis.Redis.from_url(hardened.urls["admin"]) as admin:
        admin.acl_log_reset()


def test_the_default_user_is_off(hardened):
    address = hardened.urls["admin"]
    with (
        redis.Redis.from_url(f"rediss://{address.partition('@')[2]}") as anybody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        anybody.ping()


@pytest.mark.parametrize("spoilt", ["password", "authority", "name", "port"])
def test_a_redis_that_refuses_is_told_in_a_sentence_without_its_password(hardened, spoilt, tmp_path):
    url = hardened.urls["operator"]
    password = hardened.passwords["operator"]
    wrong = str(Authority.new(tmp_path).ca)
    address = {
        "password": url.replace(password, "canary-4f1e0c"),
        "authority": f"{url.partition('&ssl_ca_certs=')[0]}&ssl_ca_certs={wrong}",
        "name": url.replace("127.0.0.1", "localhost"),
        "port": re.sub(r":\d+/0", ":1/0", url),
    }[spoilt]
    reason = {
        "password": "invalid username-password pair",
        "authority": "certificate verify failed",
        "name": "certificate is not valid for 'localhost'",
        "port": "Connection refused",
    }[spoilt]
    for arguments in (("ps",), ("history", "shop/live")):
        ended = hardened.dw(*arguments, environment={"DW_REDIS_URL": address})
        assert ended.returncode == 1
        sentence, hint = ended.stderr.splitlines()
        assert "dw doctor" in hint
        assert reason in sentence
        assert "DW_REDIS_URL" in sentence
    with hardened.process("worker", "-l", "debug", DW_REDIS_URL=address):
        log = hardened.newest_log("worker")
        Stage.until(None, lambda: "Cannot connect" in log.read_text())
    told = log.read_text()
    assert reason in told
    assert "Traceback" not in told
    assert password not in told
    assert "canary" not in told


def test_a_worker_that_is_not_root_uses_the_engines_socket_by_its_group(hardened, stage, client):
    sock = required("DOCKER_HOST")
    group = Path(sock.removeprefix("unix://")).stat().st_gid
    by_socket = {**hardened.as_worker, "DOCKER_HOST": sock, "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}
    hardened.add_credential()
    with hardened.worker(client("admin"), **{**by_socket, "through": lambda argv: command(argv, [group])}):
        assert page(stage.deploy("shop:v1")) == "shop v1"
    with hardened.worker(client("admin"), **by_socket):
        log = hardened.newest_log("worker")
        stage.until(lambda: re.search(r"Connecting to the engine failed: .*Permission denied", log.read_text()))


def test_an_engine_that_another_authority_vouches_for_is_not_spoken_to(monkeypatch, tmp_path):
    folder = Authority.new(tmp_path).issue("client")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
    with pytest.raises(EngineUnavailable, match="certificate verify failed"):
        Engine(labels=Labels("docker-watcher", "x"), host=required("DW_SERVICES_ENGINE_TLS"))
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(EngineUnavailable, match="DOCKER_CERT_PATH"):
        Engine(labels=Labels("docker-watcher", "x"), host=required("DW_SERVICES_ENGINE_TLS"))
