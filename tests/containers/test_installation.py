"""compose.yaml as a new user has it: it comes up, deploys, and gets over being restarted, killed and taken down."""

import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from base64 import b64encode

import pytest
import redis
from celery import Celery

from tests.containers.checkout import Checkout
from tests.flow.conftest import page, until
from tests.services import remove_managed, required

pytestmark = [pytest.mark.needs_private_engine, pytest.mark.timeout(400)]

SERVICES = {"redis", "engine-proxy", "worker", "beat", "flower"}
OF_PROJECT = "com.docker.compose.project"


@pytest.fixture(scope="module")
def installation(engine, base, image, tmp_path_factory, worker_id):
    """One that is up, set up by the commands of docs/compose.md."""
    namespace = f"compose-{worker_id}"
    settings = {
        "DW_NAMESPACE": namespace,
        "DW_NETWORK": f"{namespace}-net",
        "DW_NAME_PREFIX": namespace,
        "DW_LEASE_SECONDS": "2",
        "DW_STOP_TIMEOUT": "1",
    }
    made = Checkout(tmp_path_factory.mktemp("compose"), namespace, base, image, settings)
    told = made.compose("run", "--rm", "secrets")
    assert made.address("producer") in told
    try:
        made.compose("up", "--detach", "--wait")
        login = ("--username", required("DW_SERVICES_REGISTRY_USER"), "--password-stdin")
        registry = ("--registry", required("DW_SERVICES_REGISTRY"))
        made.dw("credential", "add", "acme", *registry, *login, input=required("DW_SERVICES_REGISTRY_PASSWORD"))
        yield made
    finally:
        print(made.compose("logs", "--no-color", "--tail=200", check=False))  # noqa: T201  # pytest shows it on failure
        made.compose("--profile", "monitoring", "down", "--volumes", "--timeout=1")
        remove_managed(engine, namespace)


@pytest.fixture(scope="module")
def shop(job_images):
    """Two versions, each of which takes seconds to be proven: there is time for something to happen."""
    return [job_images(f"shop:{number}", healthcheck=None) for number in (1, 2)]


@pytest.fixture
def producer(installation):
    """A plain Celery client, as whoever asks for deployments."""
    with client_of(installation) as client:
        yield client


def client_of(installation):
    url = installation.address("producer")
    return contextlib.closing(Celery(broker=url, backend=url, set_as_current=False))


def containers_of(engine, installation):
    found = engine.containers(filters={"label": f"{OF_PROJECT}={installation.project}"})
    return {each["Labels"]["com.docker.compose.service"]: engine.inspect_container(each["Id"]) for each in found}


def send(producer, image, stage, stable):
    arguments = {"project": "shop", "stage": stage, "image": image, "credential": "acme", "health": {"stable": stable}}
    return producer.send_task("docker.deploy", kwargs=arguments)


def serving(producer, image, stage):
    return send(producer, image, stage, stable=0).get(timeout=60)


def in_proof(producer, image, stage, stable):
    """A deployment that has come to its proof, which goes on for a while."""
    sent = send(producer, image, stage, stable)
    until(lambda: sent.state == "PROGRESS" and sent.info.get("step") == "prove")
    return sent


def started_at(engine, result):
    return engine.inspect_container(result["container_id"])["State"]["StartedAt"]


def flower(installation, path):
    password = (installation.here / "secrets/flower-password").read_text()
    login = {"Authorization": f"Basic {b64encode(f'operator:{password}'.encode()).decode()}"}
    return ask(f"http://127.0.0.1:{installation.ports['FLOWER']}{path}", login)


def ask(url, headers=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return {}


def test_everything_comes_up_healthy(installation):
    assert installation.health() == dict.fromkeys(SERVICES, "healthy")


def test_what_is_ours_hears_that_it_is_to_end_from_its_first_moment(engine, installation):
    # As process 1 it would not, until it has told the kernel what it does then.
    found = containers_of(engine, installation)
    assert all(found[name]["HostConfig"]["Init"] for name in ("worker", "beat", "flower"))


def test_every_service_has_limits_and_few_rights(engine, installation):
    for name, container in containers_of(engine, installation).items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["RestartPolicy"]["Name"] == "always", name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        assert host["NetworkMode"] not in {"default", "bridge", "host"}, name
        assert container["Config"]["User"] or engine.inspect_image(container["Image"])["Config"]["User"], name
        mounts = {each["Destination"] for each in container["Mounts"]}
        assert ("/run/docker.sock" in mounts) == (name == "engine-proxy")


def test_the_workers_user_has_no_home_shell_or_what_installs_packages(installation):
    program = """
import getpass, importlib.util, json, os, pwd
me = pwd.getpwuid(os.getuid())
print(json.dumps({
    "uid": me.pw_uid, "home": os.path.exists(me.pw_dir), "shell": me.pw_shell, "groups": os.getgroups(),
    "pip": bool(importlib.util.find_spec("pip")),
    "traces": bool(importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")),
    "status": open("/proc/self/status").read(),
    "may_write": [path for path in ("/", "/opt/venv", "/etc", "/var/tmp", "/tmp", "/run/docker-watcher")
                  if os.access(path, os.W_OK)]}))
"""
    told = json.loads(installation.compose("exec", "-T", "worker", "python3", "-c", program))
    assert (told["uid"], told["home"], told["shell"], told["pip"]) == (10001, False, "/usr/sbin/nologin", False)
    assert told["groups"] == [10001]
    assert told["traces"]
    assert told["may_write"] == ["/tmp"]
    assert "CapEff:\t0000000000000000" in told["status"]
    assert "CapBnd:\t0000000000000000" in told["status"]
    assert "NoNewPrivs:\t1" in told["status"]


def test_a_deployment_is_served_and_shows_up_everywhere(engine, installation, job_images):
    image = job_images("blog:1")
    told = installation.dw("deploy", "blog/staging", image, "--credential", "acme")
    assert "is live" in told
    (row,) = json.loads(installation.dw("ps", "--json"))["containers"]
    assert page({"ports": row["ports"]}) == "blog:1"
    worker = containers_of(engine, installation)["worker"]
    lines = [json.loads(line) for line in engine.logs(worker["Id"]).splitlines()]
    steps = [each["step"] for each in lines if each["event"] == "step_done"]
    assert steps[0] == "pull"
    assert steps[-1] == "promote"
    shown = until(lambda: flower(installation, f"/api/task/info/{row['deployment_id']}"))
    assert shown["state"] == "SUCCESS"


def test_what_dw_finds_wrong_from_where_the_worker_is_is_nothing(installation):
    assert "engine" in installation.dw("doctor")


def test_prometheus_finds_the_worker_and_its_rules(installation):
    installation.compose("--profile", "monitoring", "up", "--detach", "--wait", "prometheus")
    prometheus = f"http://127.0.0.1:{installation.ports['PROMETHEUS']}/api/v1"

    def value(of):
        found = ask(f"{prometheus}/query?query={of}")["data"]["result"]
        return {float(each["value"][1]) for each in found}

    until(lambda: value("up") == {1})
    until(lambda: value("sum(dw_deployments_total)") - {0})
    (group,) = ask(f"{prometheus}/rules")["data"]["groups"]
    assert {each["health"] for each in group["rules"]} <= {"ok", "unknown"}


def test_flower_wants_its_password(installation):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{installation.ports['FLOWER']}/")
    assert refused.value.code == 401


def test_the_worker_reaches_no_more_of_the_engine_than_it_needs(installation):
    program = """
import http.client, socket
class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/docker-watcher/engine.sock")
for call in ("GET /version", "POST /v1.41/containers/x/exec", "POST /v1.41/exec/x/start", "GET /v1.41/secrets",
             "POST /v1.41/swarm/init", "POST /v1.41/build", "GET /v1.41/containers/x/archive?path=/",
             "POST /v1.41/volumes/create", "POST /v1.41/images/x/push", "POST /v1.41/commit?container=x",
             "POST /v1.41/containers/x/attach", "GET /v1.41/plugins", "GET /v1.41/containers/x/../../secrets"):
    engine = Engine("engine")
    engine.request(*call.split())
    print(engine.getresponse().status)
"""
    told = installation.compose("exec", "-T", "worker", "python3", "-c", program).split()
    assert told == ["200", *["403"] * 12]


def test_a_restart_in_the_middle_costs_neither_the_deployment_nor_what_is_served(engine, installation, producer, shop):
    old = serving(producer, shop[0], "restarted")
    before = started_at(engine, old)
    sent = in_proof(producer, shop[1], "restarted", stable=8)
    installation.compose("restart", "--timeout=20")
    assert page(old) == "shop:1"
    assert started_at(engine, old) == before
    # Redis has been away, too, and with it what this client had asked to be told.
    with client_of(installation) as client:
        assert page(client.AsyncResult(sent.id).get(timeout=60)) == "shop:2"
    told = installation.dw("history", "shop/restarted")
    assert "shop:1" in told
    assert "shop:2" in told


def test_a_worker_that_is_killed_in_the_middle_costs_neither(engine, installation, producer, shop):
    old = serving(producer, shop[0], "killed")
    before = started_at(engine, old)
    sent = in_proof(producer, shop[1], "killed", stable=4)
    installation.compose("kill", "--signal=KILL", "worker")
    assert page(old) == "shop:1"
    assert started_at(engine, old) == before
    installation.compose("start", "worker")
    assert page(sent.get(timeout=60)) == "shop:2"


def test_what_dies_by_itself_comes_back(engine, installation, producer, shop):
    before = containers_of(engine, installation)
    for name in ("worker", "engine-proxy"):
        os.kill(before[name]["State"]["Pid"], signal.SIGKILL)
    until(lambda: all(each["State"]["Running"] for each in containers_of(engine, installation).values()), 60)
    assert page(serving(producer, shop[0], "after")) == "shop:1"
    after = containers_of(engine, installation)
    assert {name for name in SERVICES if after[name]["RestartCount"] > before[name]["RestartCount"]} == {
        "worker",
        "engine-proxy",
    }


def test_nobody_was_denied_in_redis_what_it_needs(installation):
    """Redis itself among them, which reads its file in as the user `default`."""
    with redis.Redis.from_url(installation.address("admin")) as admin:
        denied = {(each["username"], each["object"]) for each in admin.acl_log()}
    # From 7.2 on the library wants to say its name, and goes on without.
    assert {each for each in denied if each[1] != "client|setinfo"} == set()


def test_taken_down_it_leaves_what_it_has_deployed_and_knows_it_once_it_is_restored(
    engine, installation, producer, shop, tmp_path
):
    live = serving(producer, shop[0], "left")
    # To wait for less than all healthy would be to stop what is only starting.
    until(lambda: set(installation.health().values()) == {"healthy"}, 60)
    installation.compose("stop", "redis")
    in_redis = ("run", "--rm", "-T", "--no-deps", "redis", "tar", "-C", "/data")
    backup = tmp_path / "redis-backup.tar"
    with backup.open("wb") as file:
        installation.compose(*in_redis, "-cf", "-", ".", stdout=file)
    installation.compose("--profile", "monitoring", "down", "--volumes")
    assert containers_of(engine, installation) == {}
    assert page(live) == "shop:1"
    with backup.open("rb") as file:
        installation.compose(*in_redis, "-xf", "-", stdin=file)
    installation.compose("up", "--detach", "--wait")
    assert "shop:1" in installation.dw("history", "shop/left")
    assert page(live) == "shop:1"
