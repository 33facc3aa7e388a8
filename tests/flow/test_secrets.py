"""Secrets are in clear nowhere but where they are used, whatever fails; and the test for that can fail."""

import base64
import json
import subprocess
import sys
import threading

import pytest
import redis
from cryptography.fernet import Fernet

from tests.flow.canaries import command_lines, contents_of, events_of, found, monitored
from tests.flow.conftest import Stage, flower_of, served_through
from tests.flow.hook import Hook
from tests.services import remove_containers

# Everything is done, and fails, once for all of it.
pytestmark = pytest.mark.timeout(600)

CANARY = "canary-4f1e0c"
SECRETS = {
    "a secret variable": 'can\'ry "9d27"\\ü <&> 5be1\nsecond-line-c03e of it\n',
    "a short one": "q~7Z!",
    "a wrong password": "no-such-password-81f3",
    "the hook's key": "hook-key-canary-66a1",
    "an old key": Fernet.generate_key().decode(),
    "a key": Fernet.generate_key().decode(),
}
MISTAKE = "mistaken-2b90"
"""A secret that a client sends in clear: it is in Redis then, and no further."""
PLANTED = "planted-7c4d"
"""What is put everywhere on purpose."""
PLACES = (
    *("results", "progress", "events", "log", "redis", "monitor", "flower", "labels of containers", "command lines"),
    "dw",
)
SENT_TO = {"redis", "monitor", "progress"}
TELLING = '/bin/busybox env; echo -n "$TOKEN" | /bin/busybox base64 -w0; echo; echo "{$TOKEN} $PIN" >&2'


def shell(script):
    return ["/bin/busybox", "sh", "-c", f"{TELLING}; {script}"]


class Scene:
    """All that can be asked for with secrets in it, and can fail; and what could be read meanwhile, by place."""

    def __init__(self, stage, proxy, hook):
        self.stage, self.proxy, self.hook = stage, proxy, hook
        self.where = f"{stage.project}/{stage.name}"
        self.read = {place: [] for place in PLACES}
        self.ids = []

    def dw(self, *arguments, **options):
        ended = self.stage.installation.dw(*arguments, **options)
        self.read["dw"].append(ended.stdout + ended.stderr)
        return ended

    def seal(self, name, secret):
        # The last line's end is the terminal's.
        return self.dw("seal", self.where, name, input=SECRETS[secret] + "\n").stdout.strip()

    def ask(self, task, /, **arguments):
        """Run a task to its end, and return its result or its error."""
        return self.result_of(self.stage.send(task, **arguments))

    def result_of(self, sent):
        backend = self.stage.client.backend
        result = sent.get(timeout=90, propagate=False)
        self.ids.append(sent.id)
        # With the traceback, as Celery has stored it.
        self.read["results"].append(backend.get(backend.get_key_for_task(sent.id)).decode())
        self.read["labels of containers"] += [str(each["Labels"]) for each in self.stage.containers()]
        return result

    def deploy(self, image="shop:v1", **arguments):
        return self.ask("docker.deploy", **self.stage.deployment(image, **{**self.usual, **arguments}))

    def fails(self, kind, *image, **arguments):
        error = self.deploy(*image, **arguments)
        assert type(error).__name__ == kind, error
        return error

    def engine_repeats(self, request, status, words):
        """Have it answer so to the next such request, with these words or what follows them in the request."""
        # An error's sentence holds no more than its beginning.
        self.proxy.words = lambda asked: asked[asked.index(words) :] if words in asked else words
        self.proxy.once = (request, f"{status} echo")

    def play(self):
        sealed = {"TOKEN": self.seal("TOKEN", "a secret variable"), "PIN": self.seal("PIN", "a short one")}
        self.usual = {"secret_env": sealed, "credential": "registry"}
        live = self.deploy("teller:v1", cutover={"url": self.hook.url}, labels={"planted": PLANTED})
        environment = self.stage.engine.inspect_container(live["container_id"])["Config"]["Env"]
        assert {f"TOKEN={SECRETS['a secret variable']}", f"PIN={SECRETS['a short one']}"} <= set(environment)
        said = self.ask("docker.logs", container=live["container_id"])
        assert any("***" in line for line in said["lines"])
        self.deploy("teller:v1", force=True)
        self.ask("docker.rollback", project=self.stage.project, stage=self.stage.name)
        self.ask("docker.list", project=self.stage.project)
        self.ask("docker.inspect", image=self.stage.image("teller:v1"))
        self.fail()
        self.cancel()
        self.mistake()
        self.plant()
        for command in ("ps", "logs", "history"):
            self.dw(command, self.where, "--json")
        self.dw("history", self.where)
        self.dw("credential", "list", "--json")
        assert self.dw("rekey", "--json").returncode == 0

    def fail(self):
        for image, kind in {"dying:v1": "StartFailed", "sick:v1": "Unhealthy", "shop:v9": "ImageNotFound"}.items():
            error = self.fails(kind, image)
            assert kind == "ImageNotFound" or "***" in str(error.args)
        assert self.fails("PullDenied", credential="wrong").args
        password = self.stage.installation.password
        for status, words, kind in (
            (500, f"unauthorized: {password}", "PullDenied"),
            (400, "X-Registry-Auth", "SpecInvalid"),
        ):
            self.engine_repeats("POST /images/create", status, words)
            self.fails(kind)
        for task in (self.fails, self.create):
            self.engine_repeats("POST /containers/create", 400, '"Env"')
            assert "***" in str(task("SpecInvalid").args)
        # Tried again, and only the log has the first try's error.
        self.engine_repeats("POST /containers/create", 500, '"Env"')
        self.deploy("shop:v1", force=True)
        repeated = f"OCI runtime create failed: env {json.dumps(SECRETS['a secret variable'])} {SECRETS['a short one']}"
        self.engine_repeats("POST /containers/[^/]+/start", 500, repeated)
        assert "***" in self.fails("StartFailed", force=True).args[0]
        self.hook.echoes, self.hook.statuses = True, [400]
        self.fails("CutoverFailed", force=True, cutover={"url": self.hook.url})

    def create(self, kind):
        error = self.ask("docker.create", **self.stage.deployment("shop:v1", **self.usual))
        assert type(error).__name__ == kind
        return error

    def cancel(self):
        sent = self.stage.send("docker.deploy", **self.stage.deployment("slow:v1", **self.usual))
        self.stage.until(lambda: self.stage.record(sent.id).get("step") == "prove")
        with redis.Redis.from_url(self.stage.installation.redis_url) as connection:
            said = {"task_id": sent.id, "status": "PROGRESS", "result": {"step": PLANTED}, "traceback": None}
            connection.set(f"celery-task-meta-{sent.id}", json.dumps(said))
        assert self.dw("cancel", sent.id).returncode == 0
        assert type(self.result_of(sent)).__name__ == "DeploymentCancelled"

    def mistake(self):
        self.fails("SpecInvalid", env={"DB_PASSWORD": MISTAKE})
        self.fails("SpecInvalid", env={"DATABASE": f"postgres://me:{MISTAKE}@db/shop"})
        self.ask("docker.pull", image=self.stage.image("shop:v1"), token=MISTAKE)
        self.ask("docker.nonsense", whatever=MISTAKE)

    def plant(self):
        self.fails("ImageNotFound", f"{PLANTED}:v1")
        self.dw("deploy", self.where, self.stage.image(f"{PLANTED}:v1"), "--credential", "registry")
        # A command line that ends before it was seen was never there.
        with subprocess.Popen([sys.executable, "-c", "input()", PLANTED], stdin=subprocess.PIPE) as process:
            self.stage.until(lambda: any(PLANTED in line for line in self.seen))
            process.communicate(b"\n")


@pytest.fixture(scope="module")
def places(second_redis_url, engine_proxy, installation, images, engine, tmp_path_factory):
    """All that could be read anywhere while everything went on, by place."""
    # Of whatever other tests have left in this namespace, `dw rekey` would say that it needs an older key.
    remove_containers(engine, installation.namespace)
    images("teller", "v1", command=shell("exec /bin/busybox httpd -f -p 8080 -h /www"))
    images("dying", "v1", command=shell("exit 3"))
    images("sick", "v1", healthcheck=shell("exit 1"))
    images("slow", "v1", healthcheck=["/bin/busybox", "sleep", "60"], health_seconds=90)
    keys = {"DW_KEYS": f"{SECRETS['a key']},{SECRETS['an old key']}", "DW_CUTOVER_KEY": SECRETS["the hook's key"]}
    with (
        monitored(second_redis_url) as told,
        command_lines() as seen,
        served_through(
            *(engine_proxy, second_redis_url, tmp_path_factory.mktemp("logs"), installation, "-l", "debug"), **keys
        ) as (another, client),
        events_of(client) as events,
        Hook(SECRETS["the hook's key"]) as hook,
    ):
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        scene = Scene(Stage(client, engine, another), engine_proxy, hook)
        scene.seen = seen
        scene.dw(
            *("credential", "add", "wrong", "--registry", another.registry, "--username", another.username),
            *("--password-stdin",),
            input=SECRETS["a wrong password"],
        )
        with flower_of(scene.stage) as flower:
            scene.play()
            pages = ["/tasks", "/api/tasks", "/api/workers?refresh=1", "/workers", "/broker"]
            pages += [f"{page}/{each}" for each in scene.ids for page in ("/task", "/api/task/info")]
            scene.stage.until(lambda: "FAILURE" in flower(pages[-2]))
            scene.read["flower"] = [flower(page) for page in pages]
        hook.shutdown()
        scene.dw("credential", "rm", "wrong")
        scene.stage.clear()
    scene.read |= {"monitor": told, "events": events, "command lines": seen}
    scene.read["progress"] = [each for each in told if "PROGRESS" in each]
    scene.read["redis"] = [contents_of(second_redis_url)]
    scene.read["log"] = [path.read_text() for path in another.folder.iterdir()]
    return {place: "\n".join(texts) for place, texts in scene.read.items()}


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in_clear(places, installation, place):
    secrets = {**SECRETS, "the registry's password": installation.password}
    if place not in SENT_TO and place != "labels of containers":
        secrets["a secret sent by mistake"] = MISTAKE
    assert found(secrets, places[place]) == []


@pytest.mark.parametrize("place", PLACES)
def test_one_that_leaks_would_be_found(places, place):
    assert found({"what was planted": PLANTED}, places[place])


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_it_would_be_found_in_any_form(secret):
    written = [secret, json.dumps(secret), json.dumps(json.dumps([secret])), str([secret]), secret.split("\n")[-2:][0]]
    if len(secret) > 10:
        written += [base64.b64encode(f"{before}{secret} and".encode()).decode() for before in ("", "a", "ab", "abc")]
    for each in written:
        assert found({"it": secret}, f"text {each} text") == ["it"], each


def test_a_sealed_variable_does_not_open_in_another_stage(stage, installation):
    sealed = installation.dw("seal", "other/staging", "TOKEN", input=CANARY).stdout.strip()
    error = stage.send("docker.deploy", **stage.deployment("shop:v1", secret_env={"TOKEN": sealed})).get(
        timeout=30, propagate=False
    )
    assert type(error).__name__ == "CredentialMissing"
    assert "TOKEN" in error.args[0]
    assert stage.containers() == []


def test_keys_that_are_rotated_are_no_change(unserved_stage):
    stage, old = unserved_stage, unserved_stage.installation.environment["DW_KEYS"]

    def sealed(**keys):
        where = f"{stage.project}/{stage.name}"
        return {"TOKEN": stage.installation.dw("seal", where, "TOKEN", input=CANARY, environment=keys).stdout.strip()}

    stage.installation.add_credential()
    with stage.installation.worker(stage.client):
        first = stage.deploy("shop:v1", secret_env=sealed())
    rotated = {"DW_KEYS": f"{Fernet.generate_key().decode()},{old}"}
    with stage.installation.worker(stage.client, **rotated):
        for secrets in (sealed(), sealed(**rotated)):
            again = stage.deploy("shop:v1", secret_env=secrets)
            assert (again["state"], again["container_id"]) == ("unchanged", first["container_id"])
