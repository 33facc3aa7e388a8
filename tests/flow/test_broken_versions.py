"""A broken version costs nothing, whatever its kind: the old one serves, the error says why, and nothing is left."""

import contextlib
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.flow import foreign
from tests.flow.foreign import Repository

BUSYBOX = "/bin/busybox"
MIB = 1024 * 1024
SERVE = f"{BUSYBOX} httpd -f -p 8080 -h /www & wait"


def shell(script):
    return [BUSYBOX, "sh", "-c", script]


DIES_WHEN_TOLD = shell(f"trap 'echo lost the database; exit 3' USR1; {SERVE}")
HANGS = [BUSYBOX, "sleep", "60"]
IMAGES = {
    "exits": {"command": shell("echo no config; exit 3")},
    "check-fails": {
        "healthcheck": shell("echo looking; echo not ready; exit 1"),
        "command": shell("echo up; sleep 60"),
    },
    "check-is-silent": {"healthcheck": [BUSYBOX, "false"], "command": shell("echo no database; sleep 60")},
    "check-is-missing": {"healthcheck": ["/no/such/check"]},
    "check-hangs": {"healthcheck": HANGS, "health_seconds": 1},
    "check-takes-long": {"healthcheck": HANGS, "health_seconds": 60},
}


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What is asked for, and what comes of it."""

    error: str = "StartFailed"
    says: Sequence[str]
    """Parts of the sentence."""
    image: str = "v1"
    asked: Mapping[str, object] = field(default_factory=dict)
    port: str | None = None
    """Who has the host port that is asked for."""
    hook: Callable | None = None
    """Sets up what the cut-over hook answers."""
    facts: Mapping[str, object] = field(default_factory=dict)
    last_line: str | None = None
    """Of its output."""
    last_check: str | None = None


def tell(engine, container):
    """Send it the signal from inside: the engine takes one of its own for a stop, and starts nothing again."""
    engine.exec_start(engine.exec_create(container, [BUSYBOX, "kill", "-USR1", "1"]))


def refuse(hook, stage):
    hook.statuses = [409]


def be_down(hook, stage):
    hook.statuses = [503] * 5


def hang(hook, stage):
    """Until nobody waits any more."""
    hook.on_told = lambda told: threading.Event().wait(2) if told["reason"] == "deployed" else None


def outlive(hook, stage):
    """Answer when the container has died."""

    def kill(told):
        if told["reason"] == "deployed":
            tell(stage.engine, told["container_id"])
            stage.until(lambda: not stage.engine.inspect_container(told["container_id"])["State"]["Running"])

    hook.on_told = kill


NO_COMMAND = ["/no/such/command"]
ENDS = {"exit_code": 3, "oom_killed": False}
KINDS = {
    "exits": Broken(
        asked={"command": shell("echo no config; exit 3")},
        says=["it ended with exit code 3 (its last words were: 'no config')"],
        facts=ENDS,
        last_line="no config",
    ),
    "exits later": Broken(
        asked={"command": shell("echo up; sleep 2; echo gave up; exit 4"), "health": {"stable": 4}},
        says=["exit code 4 (its last words were: 'gave up')"],
        facts={"exit_code": 4},
        last_line="gave up",
    ),
    "check fails": Broken(
        image="check-fails",
        error="Unhealthy",
        says=["its health check fails (the last check said: 'not ready')"],
        facts={"exit_code": 0, "oom_killed": False},
        last_line="up",
        last_check="looking\nnot ready",
    ),
    "never checked": Broken(
        image="check-takes-long",
        asked={"health": {"timeout": 1}},
        error="Unhealthy",
        says=["not healthy within 1 s;", "health.timeout"],
        facts={"health_log": []},
    ),
    "port of a process": Broken(
        port="process", error="PortInUse", says=["address already in use", "free the host port"]
    ),
    "no such command": Broken(
        asked={"command": NO_COMMAND},
        says=["could not run its command", "exit code 127", "exec /no/such/command failed"],
        facts={"exit_code": 127},
    ),
    "foreign program": Broken(
        image="program",
        asked={"command": ["/www/index.html"]},
        says=["could not run its command", "/www/index.html", "is made for linux/"],
        facts={"exit_code": 127},
    ),
    "out of memory": Broken(
        asked={"command": shell(f"echo loading; exec {BUSYBOX} tail /dev/zero"), "memory": 8 * MIB},
        says=["ran out of its memory of 8 MiB", "exit code 137", "give it more with `memory`"],
        facts={"exit_code": 137, "oom_killed": True},
        last_line="loading",
    ),
    "dies while the hook is told": Broken(
        hook=outlive,
        asked={"command": DIES_WHEN_TOLD},
        says=["exit code 3 (its last words were: 'lost the database')"],
        facts={**ENDS, "step": "promote"},
        last_line="lost the database",
    ),
    "hook refuses": Broken(hook=refuse, error="CutoverFailed", says=["answered 409 (said the hook)"]),
}
VARIANTS = {
    "ends": Broken(
        asked={"command": shell("echo gone to the background")},
        says=["exit code 0 (its last words were: 'gone to the background')", "foreground"],
        facts={"exit_code": 0},
        last_line="gone to the background",
    ),
    "crashes": Broken(
        asked={"command": shell("echo loading; kill -SEGV $$")},
        says=["exit code 139, as by SIGSEGV"],
        facts={"exit_code": 139, "oom_killed": False},
        last_line="loading",
    ),
    "exits while checked": Broken(
        image="check-takes-long",
        asked={"command": shell("echo up; sleep 2; echo gave up; exit 4")},
        says=["exit code 4 (its last words were: 'gave up')"],
        facts={"exit_code": 4},
        last_line="gave up",
    ),
    "check fails in silence": Broken(
        image="check-is-silent",
        error="Unhealthy",
        says=["its health check fails (its last words were: 'no database')"],
        last_line="no database",
        last_check="",
    ),
    "no such check": Broken(
        image="check-is-missing", error="Unhealthy", says=["its health check fails", "/no/such/check"]
    ),
    "check hangs": Broken(
        image="check-hangs",
        asked={"health": {"timeout": 2.5}},
        error="Unhealthy",
        says=["not healthy within 2.5 s (the last check said: 'Health check exceeded timeout (1s)')", "health.timeout"],
        last_check="Health check exceeded timeout (1s)",
    ),
    "port of a container": Broken(
        port="container", error="PortInUse", says=["port is already allocated", "free the host port"]
    ),
    "no such command, no init": Broken(
        asked={"command": NO_COMMAND, "init": False},
        says=['failed: exec: "/no/such/command"', "no such file or directory; check the image's command"],
        facts={"exit_code": 127, "logs": []},
    ),
    "not executable": Broken(
        asked={"command": ["/www"]},
        says=["could not run its command", "exit code 126", "exec /www failed: Permission denied"],
        facts={"exit_code": 126},
    ),
    "not executable, no init": Broken(
        asked={"command": ["/www"], "init": False},
        says=['failed: exec: "/www"', "permission denied"],
        facts={"exit_code": 126},
    ),
    "script without #!": Broken(
        asked={"command": ["/www/index.html"]},
        says=["could not run its command", "exit code 127", "/www/index.html"],
        facts={"exit_code": 127},
    ),
    "foreign program, no init": Broken(
        image="program",
        asked={"command": ["/www/index.html"], "init": False},
        says=["could not run its command", "exec /www/index.html: exec format error", "is made for linux/"],
        last_line="exec /www/index.html: exec format error",
    ),
    "foreign image": Broken(
        image="foreign",
        asked={"command": ["/www/index.html"]},
        says=["the image is for linux/s390x, and the engine's host is linux/"],
        facts={"exit_code": 127},
    ),
    "foreign list": Broken(
        image="list", error="ImageNotFound", says=["isn't made for the platform of the engine's host"]
    ),
    "no such user": Broken(
        asked={"user": "shopkeeper"}, says=["unable to find user shopkeeper", "check the image's command, user"]
    ),
    "no such group": Broken(asked={"user": "0:shopkeepers"}, says=["unable to find group shopkeepers"]),
    "cannot write": Broken(
        asked={"command": shell("echo 1 > /www/pid || exit 4"), "read_only": True},
        says=["exit code 4", "Read-only file system"],
        facts={"exit_code": 4},
    ),
    "a child out of memory": Broken(
        asked={"command": shell(f"{BUSYBOX} tail /dev/zero; echo lost a child >&2; exit 5"), "memory": 8 * MIB},
        says=["ran out of its memory of 8 MiB", "exit code 5 (its last words were: 'lost a child')"],
        facts={"exit_code": 5, "oom_killed": True},
    ),
    "lives on without memory": Broken(
        image="check-fails",
        asked={"command": shell(f"{BUSYBOX} tail /dev/zero; echo lost a child >&2; sleep 60"), "memory": 16 * MIB},
        error="Unhealthy",
        says=["its health check fails (the last check said: 'not ready')"],
        last_check="looking\nnot ready",
    ),
    "hook is down": Broken(hook=be_down, error="CutoverFailed", says=["answered 503"], facts={"retryable": True}),
    "hook hangs": Broken(
        hook=hang, error="CutoverFailed", says=["gave no answer within 1 s;"], facts={"retryable": True}
    ),
}
"""Further ways to the same ends, each with a sentence of its own."""
CASES = [
    *((kind, "start-first") for kind in (*KINDS, *VARIANTS)),
    *((kind, "stop-first") for kind in KINDS),
    # By itself, as no two can have the same host port.
    *((kind, "fixed port") for kind in ("exits", "check fails", "no such command, no init")),
]


@pytest.fixture(scope="module")
def broken_images(images, installation):
    """The tags of the repository that the broken versions are of; `v1` is the good one's, and serves."""
    for tag, options in IMAGES.items():
        images("broken", tag, **options)
    images("broken", "program", page=foreign.PROGRAM, healthcheck=None)
    image = images("broken", "plain", page="it serves", healthcheck=None)
    name = image.rpartition(":")[0]
    with contextlib.closing(Repository(name, installation.username, installation.password)) as repository:
        # Each container has a volume that nobody would remember.
        repository.alter("plain", "v1", lambda config: config["config"].update(Volumes={"/cache": {}}))
        repository.alter("program", "foreign", lambda config: config.update(foreign.PLATFORM))
        repository.list_as_foreign("foreign", "list")
    return name


@pytest.fixture(scope="module")
def taken_ports(engine, broken_images, installation, client, worker):
    """Host ports that a process of this machine and somebody else's container have."""
    image = f"{broken_images}:plain"
    with socket.socket() as process:
        process.bind(("0.0.0.0", 0))
        process.listen()
        # A second engine that a test starts takes the private one's default bridge away.
        client.send_task("docker.ensure_network", kwargs={"network": installation.network}).get(timeout=30)
        host = engine.create_host_config(port_bindings={8080: None}, network_mode=installation.network)
        container = engine.create_container(image, ports=[8080], host_config=host)["Id"]
        engine.start(container)
        try:
            yield {"process": process.getsockname()[1], "container": port_of(engine, container)}
        finally:
            engine.remove_container(container, force=True, v=True)


def port_of(engine, container):
    return int(engine.inspect_container(container)["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])


def ask(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode().strip()


def answers(port):
    with contextlib.suppress(OSError):
        return ask(port) == "it serves"


@contextlib.contextmanager
def asked_all_along(port):
    """Ask until the block ends; all must have been answered."""
    ended, told = threading.Event(), []

    def go_on():
        # Without a pause it would have a processor to itself; what is away for a moment is away for longer than this.
        while not ended.wait(0.02):
            try:
                told.append(ask(port))
            except OSError as error:
                told.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert set(told) == {"it serves"}


def anonymous_volumes(engine):
    """Those that no container has."""
    found = engine.volumes(filters={"dangling": True})["Volumes"] or []
    return {each["Name"] for each in found if re.fullmatch("[0-9a-f]{64}", each["Name"])}


def networks(stage):
    return {each["Id"] for each in stage.engine.networks(names=[stage.installation.namespace])}


@pytest.mark.parametrize(("kind", "strategy"), CASES)
def test_a_broken_version_costs_nothing(stage, kind, strategy, broken_images, taken_ports, hook, free_port):
    broken, good = {**KINDS, **VARIANTS}[kind], f"{broken_images}:v1"
    fixed = {"ports": {"8080/tcp": free_port}} if strategy == "fixed port" else {"strategy": strategy}
    before = stage.deploy(good, aliases=[stage.alias], health={"stable": 0}, **fixed)
    old = stage.engine.inspect_container(before["container_id"])
    was_there = anonymous_volumes(stage.engine), networks(stage)
    stage.until(lambda: answers(before["ports"]["8080/tcp"]))

    asked = {"aliases": [stage.alias], "health": {"stable": 0.5}, **fixed, **broken.asked}
    if broken.port:
        asked["ports"] = {"8080/tcp": taken_ports[broken.port]}
    if broken.hook:
        asked["cutover"] = {"url": f"{hook.url}?token=hidden", "timeout": 1 if broken.hook is hang else 30}
        broken.hook(hook, stage)
    # What can't be pulled comes to nobody's place.
    untouched = strategy == "start-first" or broken.error == "ImageNotFound"
    with asked_all_along(before["ports"]["8080/tcp"]) if untouched else contextlib.nullcontext():
        sent = stage.send("docker.deploy", **stage.deployment(f"{broken_images}:{broken.image}", force=True, **asked))
        error = sent.get(timeout=90, propagate=False)

    says_what_is_wrong(broken, f"{broken_images}:{broken.image}", error)
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    recorded = json.loads(stage.record(sent.id)["error"])
    assert (recorded["type"], recorded["message"], recorded["facts"]) == (broken.error, *error.args)
    serves_as_before(stage, old, untouched=untouched)
    if broken.hook:
        led_back = hook.told[-1]
        assert (led_back["reason"], led_back["container_id"]) == ("reverted", old["Id"])
        assert ask(led_back["ports"]["8080/tcp"]) == "it serves"
    stage.until(lambda: anonymous_volumes(stage.engine) <= was_there[0])
    assert networks(stage) == was_there[1]

    after = stage.deploy(good, env={"NEXT": "1"}, health={"stable": 0}, strategy="stop-first")
    assert (after["state"], after["replaced"]) == ("live", [old["Id"]])


def says_what_is_wrong(broken, image, error):
    assert type(error).__name__ == broken.error
    message, facts = error.args
    assert image in message or facts["container"] in message
    assert "\n" not in message
    assert "hidden" not in str(error.args)
    for part in broken.says:
        assert part in message
    assert facts.items() >= {"retryable": False, **broken.facts}.items()
    if broken.error in {"StartFailed", "Unhealthy"}:
        assert facts.keys() >= {"exit_code", "oom_killed", "logs", "health_log"}
    if broken.last_line is not None:
        assert facts["logs"][-1] == broken.last_line
    if broken.last_check is not None:
        assert facts["health_log"][-1] == broken.last_check


def serves_as_before(stage, old, *, untouched):
    (container,) = stage.containers()
    assert container["Id"] == old["Id"]
    now = stage.engine.inspect_container(old["Id"])
    assert now["State"]["Running"]
    assert (now["State"]["StartedAt"] == old["State"]["StartedAt"]) is untouched
    assert now["Name"] == old["Name"]
    assert now["HostConfig"] == old["HostConfig"]
    network = stage.installation.network
    assert stage.alias in now["NetworkSettings"]["Networks"][network]["Aliases"]
    stage.until(lambda: answers(port_of(stage.engine, old["Id"])))


def test_one_that_runs_again_only_by_its_restart_policy_is_not_promoted(stage, broken_images, hook):
    """Killed from outside while it is promoted, it has the policy already when it is started once more."""
    before = stage.deploy(f"{broken_images}:v1", health={"stable": 0})

    def state(told):
        return stage.engine.inspect_container(told["container_id"])

    def kill_and_then_have_it_die(told):
        if told["reason"] == "reverted":
            return
        if len(hook.told) == 1:
            stage.engine.kill(told["container_id"], "KILL")
            stage.until(lambda: not state(told)["State"]["Running"])
        elif not state(told)["RestartCount"]:
            tell(stage.engine, told["container_id"])
            stage.until(lambda: state(told)["RestartCount"] and state(told)["State"]["Running"])

    hook.on_told = kill_and_then_have_it_die
    asked = {"command": DIES_WHEN_TOLD, "health": {"stable": 0}, "cutover": {"url": hook.url, "timeout": 60}}
    error = stage.send("docker.deploy", **stage.deployment(f"{broken_images}:v1", **asked)).get(90, propagate=False)
    assert type(error).__name__ == "StartFailed"
    assert "ended, and was started again by its restart policy (its last words were: 'lost the database')" in str(error)
    assert [told["reason"] for told in hook.told] == ["deployed", "deployed", "reverted"]
    assert [each["Id"] for each in stage.containers()] == [before["container_id"]]
    assert ask(before["ports"]["8080/tcp"]) == "it serves"


def test_one_that_dies_once_it_is_live_is_its_restart_policys_and_the_list_shows_it(stage, broken_images):
    once = shell(f"[ -e /died ] && exit 3; trap 'touch /died; exit 3' USR1; {SERVE}")
    live = stage.deploy(f"{broken_images}:v1", command=once, health={"stable": 0.5})
    tell(stage.engine, live["container_id"])

    def listed():
        (found,) = stage.ask("docker.list", project=stage.project, all=True)["containers"]
        return found

    # It dies again at each start, and the engine waits longer before each.
    found = stage.until(lambda: (now := listed())["state"] == "restarting" and now)
    assert found["container_id"] == live["container_id"]
    assert found["status"].startswith("Restarting (3)")
    assert stage.record(live["deployment_id"])["step"] == "ended"
    after = stage.deploy(f"{broken_images}:v1", health={"stable": 0})
    assert after["replaced"] == [live["container_id"]]
    assert [each["Id"] for each in stage.containers()] == [after["container_id"]]


@pytest.mark.parametrize("task", ["docker.start", "docker.restart"])
def test_what_is_started_by_itself_says_too_that_its_command_cannot_be_run(stage, broken_images, task):
    stage.ask("docker.pull", image=f"{broken_images}:v1")
    asked = stage.deployment(f"{broken_images}:v1", command=NO_COMMAND, restart="no")
    made = stage.ask("docker.create", **asked)

    def refused():
        # The engine's init may take longer to find it out than to be looked at.
        answer = stage.send(task, container=made["container_id"]).get(timeout=60, propagate=False)
        return isinstance(answer, Exception) and answer

    error = stage.until(refused)
    stage.ask("docker.remove", container=made["container_id"], force=True)
    assert type(error).__name__ == "StartFailed"
    message, facts = error.args
    assert made["name"] in message
    assert "could not run its command" in message
    assert "exec /no/such/command failed: No such file or directory" in message
    assert facts["exit_code"] == 127
    assert "/no/such/command" in facts["logs"][-1]


@pytest.mark.parametrize(
    ("kind", "options", "lines"),
    [
        ("StartFailed", [], ["  | no config"]),
        ("Unhealthy", [], ["  | up"]),
        ("PortInUse", ["--port", "8080={process}"], []),
        ("CutoverFailed", ["--cutover", "{hook}"], []),
        ("ImageNotFound", [], []),
    ],
)
def test_dw_says_it_in_one_sentence_with_the_last_lines(stage, broken_images, taken_ports, hook, kind, options, lines):
    tag = {"StartFailed": "exits", "Unhealthy": "check-fails", "ImageNotFound": "list"}.get(kind, "v1")
    hook.statuses = [409]
    given = [each.format(hook=hook.url, **taken_ports) for each in options]
    ended = stage.installation.dw("deploy", f"{stage.project}/{stage.name}", f"{broken_images}:{tag}", *given)
    assert (ended.returncode, ended.stdout) == (1, "")
    said = ended.stderr.splitlines()
    (at,) = (number for number, line in enumerate(said) if line.startswith(kind))
    assert "failed: " in said[at]
    assert said[at].endswith(".")
    assert said[at + 1 : at + 1 + len(lines)] == lines
    assert stage.containers() == []
