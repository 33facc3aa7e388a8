"""How each error of the contract comes about, for real: what is prepared, and the command that then fails."""

import contextlib
import json
import socket
import sys
import threading
import time
from pathlib import Path

from compose import jobimage
from compose.demo.terminal import terminal
from tests.second_engine import on_small_disk

COLUMNS = 100
DW = str(Path(sys.executable).with_name("dw"))
STAGE = "shop/staging"
COMPLAINT = ["/bin/busybox", "sh", "-c", "echo 'no DATABASE_URL is set'; exit 3"]


class Stage:
    """An installation with workers, in which commands are run as an operator does."""

    def __init__(self, installation, client, engine):
        self.installation = installation
        self.client = client
        self.engine = engine
        self.images = {}

    def image(self, tag, **options):
        """Push an image, once; its name."""
        name = self.installation.image("shop", tag)
        if tag not in self.images:
            jobimage.build_job_image(self.engine, name, **{"page": tag, **options})
            jobimage.push(self.engine, name, self.installation.username, self.installation.password)
            self.engine.remove_image(name, force=True)
            self.images[tag] = name
        return name

    @contextlib.contextmanager
    def dw(self, *arguments, **changed):
        """A command in a terminal."""
        with terminal([DW, *arguments], {**self.installation.environment, **changed}, COLUMNS, 60) as shown:
            yield shown

    def screen(self, *arguments, **changed):
        """The command and its last screen, where it fails."""
        with self.dw(*arguments, **changed) as shown:
            status = shown.end(240)
            assert status == 1, "\n".join(shown.lines)
            return " ".join(["dw", *arguments]), shown.lines

    def run(self, *arguments):
        """A command that is to succeed."""
        ended = self.installation.dw(*arguments)
        assert ended.returncode == 0, ended.stderr


def spec_invalid(stage):
    return stage.screen("deploy", STAGE, stage.image("1.4.2"), "--port", "8080=70000")


def policy_denied(stage):
    return stage.screen("deploy", STAGE, "docker.io/library/nginx:1.27")


def credential_missing(stage):
    return stage.screen("deploy", STAGE, stage.image("1.4.2"), "--credential", "ours")


def image_not_found(stage):
    return stage.screen("deploy", STAGE, stage.installation.image("shop", "1.4.3"))


def pull_denied(stage):
    given = stage.installation
    wrong = ("credential", "add", "registry", "--registry", given.registry, "--username", given.username)
    ended = given.dw(*wrong, "--password-stdin", input="an older password")
    assert ended.returncode == 0, ended.stderr
    try:
        return stage.screen("deploy", STAGE, stage.image("1.5.0"))
    finally:
        given.add_credential()


def registry_unavailable(stage):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return stage.screen("deploy", STAGE, f"127.0.0.1:{closed.getsockname()[1]}/acme/shop:1.4.2")


def name_conflict(stage):
    image = stage.image("1.5.0")
    name = f"{stage.installation.namespace}-shop-staging-1.5.0"
    stage.client.send_task("docker.pull", kwargs={"image": image}).get(timeout=60)
    theirs = stage.engine.create_container(image, name=name)["Id"]
    try:
        return stage.screen("deploy", STAGE, image)
    finally:
        stage.engine.remove_container(theirs)


def port_in_use(stage):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        return stage.screen("deploy", STAGE, stage.image("1.5.0"), "--port", f"8080={taken.getsockname()[1]}")


def network_not_found(stage):
    return stage.screen("deploy", STAGE, stage.image("1.5.0"), "--network", "backend")


def container_not_found(stage):
    return stage.screen("logs", "shop/production")


def not_managed(stage):
    """No command of `dw` names a container, so this is what any Celery client is told."""
    image = stage.image("1.5.0")
    stage.client.send_task("docker.pull", kwargs={"image": image}).get(timeout=60)
    theirs = stage.engine.create_container(image, name=f"{stage.installation.namespace}-postgres")["Id"]
    try:
        sent = stage.client.send_task("docker.stop", kwargs={"container": theirs[:12]})
        error = sent.get(timeout=60, propagate=False)
    finally:
        stage.engine.remove_container(theirs)
    return f'app.send_task("docker.stop", kwargs={{"container": "{theirs[:12]}"}}).get()', [
        f"{type(error).__name__}: {error.args[0]}"
    ]


def start_failed(stage):
    return stage.screen("deploy", STAGE, stage.image("1.6.0", command=COMPLAINT))


def unhealthy(stage):
    check = ["/bin/busybox", "sh", "-c", "echo 'GET /health: 503'; exit 1"]
    return stage.screen("deploy", STAGE, stage.image("1.6.1", healthcheck=check), "--health-timeout", "5")


def engine_unavailable(stage):
    with stage.installation.worker(stage.client, DW_HOST="two", DOCKER_HOST="unix:///run/two/docker.sock"):
        try:
            return stage.screen("deploy", "shop/production", stage.image("1.4.2"), "--host", "two")
        finally:
            stage.installation.dw("drain", "two")


def deadline_exceeded(stage):
    slow = ["/bin/busybox", "sleep", "60"]
    return stage.screen("deploy", STAGE, stage.image("1.6.2", healthcheck=slow), "--timeout", "5")


def deployment_cancelled(stage):
    slow = ["/bin/busybox", "sleep", "60"]
    command = ("deploy", STAGE, stage.image("1.6.2", healthcheck=slow))
    with stage.dw(*command) as shown:
        shown.see(lambda lines: any(" prove" in each for each in lines))
        stage.run("cancel", _under_way(stage))
        assert shown.end() == 1
        return " ".join(["dw", *command]), shown.lines


def deployment_superseded(stage):
    slow = ["/bin/busybox", "sleep", "60"]
    running = stage.client.send_task("docker.deploy", kwargs=_asked(stage.image("1.6.2", healthcheck=slow)))
    _await(lambda: running.state == "PROGRESS" and (running.info or {}).get("step") == "prove")
    command = ("deploy", STAGE, stage.image("1.4.2"))
    with stage.dw(*command) as shown:
        shown.see(lambda lines: any("accept" in each for each in lines))
        newer = stage.client.send_task("docker.deploy", kwargs=_asked(stage.image("1.5.0")))
        assert shown.end() == 1
        lines = shown.lines
    for each in (newer, running):
        stage.client.send_task("docker.cancel", kwargs={"deployment_id": each.id}).get(timeout=30)
        each.get(timeout=60, propagate=False)
    return " ".join(["dw", *command]), lines


def cutover_failed(stage):
    with socket.socket() as refuses:
        refuses.bind(("127.0.0.1", 0))
        refuses.listen()
        threading.Thread(target=_answer_503, args=(refuses,), daemon=True).start()
        url = f"http://127.0.0.1:{refuses.getsockname()[1]}/switch"
        return stage.screen("deploy", STAGE, stage.image("1.5.0"), "--cutover", url)


def disk_full(stage):
    large = stage.image("2.0.0", layers=[40_000_000])
    with (
        on_small_disk("screens", 24) as (host, _),
        stage.installation.worker(stage.client, DW_HOST="three", DOCKER_HOST=host),
    ):
        try:
            return stage.screen("deploy", "shop/production", large, "--host", "three")
        finally:
            stage.installation.dw("drain", "three")


def _answer_503(listening):
    said = b"no upstream of that name\n"
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + said)


def _asked(image):
    project, stage = STAGE.split("/")
    return {"project": project, "stage": stage, "image": image}


def _under_way(stage):
    told = json.loads(stage.installation.dw("history", STAGE, "--json").stdout)["deployments"]
    return next(each["deployment_id"] for each in told if each["state"] == "running")


def _await(condition, seconds=60):
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


SCENES = {
    "SpecInvalid": spec_invalid,
    "PolicyDenied": policy_denied,
    "CredentialMissing": credential_missing,
    "ImageNotFound": image_not_found,
    "PullDenied": pull_denied,
    "RegistryUnavailable": registry_unavailable,
    "NameConflict": name_conflict,
    "PortInUse": port_in_use,
    "NetworkNotFound": network_not_found,
    "ContainerNotFound": container_not_found,
    "NotManaged": not_managed,
    "StartFailed": start_failed,
    "Unhealthy": unhealthy,
    "EngineUnavailable": engine_unavailable,
    "DeadlineExceeded": deadline_exceeded,
    "DeploymentCancelled": deployment_cancelled,
    "DeploymentSuperseded": deployment_superseded,
    "CutoverFailed": cutover_failed,
    "DiskFull": disk_full,
}
"""In the order of the contract."""
