"""The hardened setting: Redis with users and TLS, the engine by TLS, and a worker that isn't root."""

import collections
import contextlib
import json
import os
import re
import sys
import threading
from pathlib import Path

import pytest
import redis
from celery import Celery

from compose import redis as compose_redis
from compose.unprivileged import command
from tests.flow.conftest import Installation, Stage, page
from tests.services import remove_managed, required

pytestmark = pytest.mark.needs_private_engine


class Monitor:
    """Which user has sent which command on which keys, told by Redis."""

    def __init__(self, url):
        self.admin = redis.Redis.from_url(url)
        self.users = {}
        self.used = collections.defaultdict(lambda: collections.defaultdict(set))
        self.last = None
        self.ended = threading.Event()

    @contextlib.contextmanager
    def listening(self):
        self.admin.ping()
        with self.admin.monitor() as monitor:
            thread = threading.Thread(target=self.listen, args=(monitor,))
            thread.start()
            yield self
            self.ended.set()
            thread.join()

    def listen(self, monitor):
        while not self.ended.is_set():
            self.heard(monitor.next_command())

    def heard(self, told):
        words = told["command"].split(" ")
        if told["client_type"] == "lua":
            user, name = self.last, words[0].lower() + "-lua"
        elif words[0] == "HELLO":
            return
        else:
            address = f"{told['client_address']}:{told['client_port']}"
            if address not in self.users:
                self.users |= {each["addr"]: each["user"] for each in self.admin.client_list() if each["user"] != "default"}
            user, name = self.users.get(address, "?"), words[0].lower()
            self.last = user
        self.used[user][name].add(words[1] if len(words) > 1 else "")


@pytest.fixture(scope="module")
def hardened(tmp_path_factory, worker_id, engine):
    namespace = f"hard-{worker_id}"
    with compose_redis.hardened(Path(required("DW_SERVICES_STATE")), namespace) as urls:
        made = Installation(urls["operator"], tmp_path_factory.mktemp("hardened"), namespace=namespace)
        made.environment.pop("COVERAGE_PROCESS_CONFIG", None)
        made.urls = urls
        certificates = Path(required("DW_SERVICES_STATE")) / "engine-tls/client"
        made.worker_settings = {
            "DW_REDIS_URL": urls["worker"],
            "DOCKER_HOST": required("DW_SERVICES_ENGINE_TLS"),
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(certificates),
            "HOME": "/nonexistent",
        }
        yield made
    remove_managed(engine, namespace)


def norm(k):
    k=re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+','<id>',k); k=re.sub(r'p[0-9a-f]{8}','<p>',k); k=re.sub(r'[0-9a-f]{12,}','<hex>',k)
    return k[:60]


def test_measure(hardened, engine, tmp_path):
    from compose.jobimage import build_job_image, push
    for v in ("v1","v2"):
        ref = hardened.image("shop", v)
        build_job_image(engine, ref, page=v)
        push(engine, ref, hardened.username, hardened.password)
    operator = Celery(broker=hardened.urls["operator"], backend=hardened.urls["operator"], set_as_current=False)
    producer = Celery(broker=hardened.urls["producer"], backend=hardened.urls["producer"], set_as_current=False)
    monitor = Monitor(hardened.urls["admin"])
    try:
      with monitor.listening():
        hardened.add_credential()
        with hardened.worker(operator, through=command, **hardened.worker_settings):
            stage = Stage(producer, engine, hardened)
            r = stage.deploy("shop:v1"); assert page(r) == "v1"
            r = stage.deploy("shop:v2"); assert page(r) == "v2"
            where = f"{stage.project}/staging"
            for a in (("ps",), ("history", where), ("rollback", where), ("logs", where), ("deploy", where, stage.image("shop:v9")), ("restart", where), ("stop", where), ("prune",), ("credential","list"), ("rm", where), ("credential","rm","registry")):
                ended = hardened.dw(*a)
                print(a, ended.returncode, ended.stdout, ended.stderr)
            sched = tmp_path/"beat"; 
            tmp_path.chmod(0o777)
            for q in (tmp_path.parent, tmp_path.parent.parent): q.chmod(0o755)
            with hardened.process("beat", "-s", "/tmp/hx-beat", through=command, DW_PRUNE_SECONDS="1", **hardened.worker_settings):
                threading.Event().wait(4)
            os.system("rm -f /tmp/hx-beat*")
            pid = open('/proc/self/stat').read()
    finally:
      for user, cmds in monitor.used.items():
        print("##", user)
        for c, keys in sorted(cmds.items()):
            print("  ", c, sorted({norm(k) for k in keys})[:12])
      print(monitor.admin.acl_log())
    stage.clear()
    assert 0
