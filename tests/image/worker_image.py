"""The worker's image, built without a network and run with few rights: `make image`, too slow for `make test`."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from celery import Celery

from compose.jobimage import build_job_image, push
from tests.flow.conftest import Installation, Stage, engine, page  # noqa: F401  # a fixture among them
from tests.services import remove_managed, required

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".state/image"
BASE, IMAGE = "docker-watcher-base:test", "docker-watcher-worker:test"
FEW_RIGHTS = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "network_mode": "host",
}


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):  # noqa: F811  # the fixture
    engine.import_image(str(MADE / "rootfs.tar"), repository=BASE.partition(":")[0], tag="test")
    context = tmp_path_factory.mktemp("context")
    for name in ("compose", "worker", "tasks"):
        shutil.copytree(ROOT / name, context / name)
    for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, context)
    shutil.copytree(MADE / "wheels", context / "wheels")
    offline = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/build/wheels"}
    options = {"dockerfile": "compose/Dockerfile", "network_mode": "none", "rm": True, "forcerm": True}
    lines = list(engine.build(path=str(context), tag=IMAGE, buildargs=offline, decode=True, **options))
    assert not [line for line in lines if "error" in line], "".join(line.get("stream", "") for line in lines)
    yield IMAGE
    for name in (IMAGE, BASE):
        engine.remove_image(name, force=True)


@contextlib.contextmanager
def run(api, image, *command, **options):
    container = api.create_container(
        image,
        command=list(command) or None,
        environment=options.pop("environment", {}),
        volumes=list(options.get("binds", {})),
        host_config=api.create_host_config(**FEW_RIGHTS, **options),
    )["Id"]
    try:
        api.start(container)
        yield container
    finally:
        sys.stdout.write(api.logs(container).decode())
        api.remove_container(container, force=True, v=True)


def test_it_runs_as_a_user_without_home_shell_or_what_installs_packages(engine, image):  # noqa: F811
    asked = (
        "import getpass, importlib.util, json, os, pwd; me = pwd.getpwuid(os.getuid()); print(json.dumps({"
        "'uid': me.pw_uid, 'home': os.path.exists(me.pw_dir), 'shell': me.pw_shell, "
        "'pip': bool(importlib.util.find_spec('pip')), 'status': open('/proc/self/status').read(), "
        "'may_write': [path for path in ('/', '/opt/venv', '/etc', '/var/tmp', '/tmp') if os.access(path, os.W_OK)]}))"
    )
    with run(engine, image, "python", "-c", asked) as container:
        assert engine.wait(container)["StatusCode"] == 0
        told = json.loads(engine.logs(container))
    assert (told["uid"], told["home"], told["shell"], told["pip"]) == (10001, False, "/usr/sbin/nologin", False)
    assert told["may_write"] == ["/tmp"]
    assert "CapEff:\t0000000000000000" in told["status"]
    assert "CapBnd:\t0000000000000000" in told["status"]
    assert "NoNewPrivs:\t1" in told["status"]


def test_a_worker_in_it_deploys(engine, image, redis_url, tmp_path):  # noqa: F811
    installation = Installation(redis_url, tmp_path)
    reference = installation.image("shop", "v1")
    build_job_image(engine, reference, page="shop v1")
    push(engine, reference, installation.username, installation.password)
    installation.add_credential()
    socket = Path(required("DOCKER_HOST").removeprefix("unix://"))
    settings = {name: value for name, value in installation.environment.items() if name.startswith("DW_")}
    client = Celery(broker=redis_url, backend=redis_url, set_as_current=False)
    stage = Stage(client, engine, installation)
    with (
        contextlib.closing(client),
        run(
            engine,
            image,
            environment={**settings, "DOCKER_HOST": "unix:///run/engine.sock"},
            binds={str(socket): {"bind": "/run/engine.sock", "mode": "rw"}},
            group_add=[socket.stat().st_gid],
        ) as container,
    ):
        stage.until(lambda: client.control.ping(timeout=0.5))
        assert page(stage.deploy("shop:v1")) == "shop v1"
        asked = engine.exec_create(container, ["dw", "ps", "--json"])["Id"]
        assert json.loads(engine.exec_start(asked))["containers"][0]["state"] == "running"
        stopped = engine.stop(container, timeout=60)
        assert stopped is None
        assert engine.inspect_container(container)["State"]["ExitCode"] == 0
    remove_managed(engine, installation.namespace)
