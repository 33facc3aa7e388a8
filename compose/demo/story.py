"""The story: two versions go live one after the other, then two that cannot, and the second keeps serving."""

import os
import re
from pathlib import Path

import requests

from compose import jobimage
from compose.demo.scene import DemoError, Scene
from compose.process import Daemon
from compose.redis import masked
from compose.unprivileged import USER

STAGE = "demo/staging"
COMPLAINT = "hello: no database is configured"
BROKEN = ("/bin/busybox", "sh", "-c", f"echo '{COMPLAINT}'; exit 3")


def tell(scene: Scene) -> None:
    """All of it."""
    push_images(scene)
    store_credential(scene)
    scene.step("A worker starts")
    with scene.worker() as worker:
        scene.show(f"it answers; its log is {worker.log}")
        if scene.worker_env:
            look_at_rights(scene, worker)
        deploy(scene, "v1")
        deploy(scene, "v2")
        fail(scene, "v9", "A tag that does not exist", causes=("not found",))
        fail(scene, "broken", "An image that exits at once", causes=("exit code 3", COMPLAINT))
        look_around(scene)


def push_images(scene: Scene) -> None:
    """Three images: two that serve a page, and one that does not start."""
    scene.step("Three images are pushed to a registry that asks for a password")
    user, password = _login()
    for tag in ("v1", "v2", "broken"):
        name = scene.image(tag)
        command = BROKEN if tag == "broken" else jobimage.SERVE
        jobimage.build_job_image(scene.client, name, page=f"{_page(tag)}\n", command=command)
        digest = jobimage.push(scene.client, name, user, password)
        scene.client.remove_image(name, force=True)  # so that deploying pulls it
        scene.show(f"{name}  {digest[:19]}")


def store_credential(scene: Scene) -> None:
    """The password goes in through standard input, and is sealed."""
    scene.step("The password is sealed and stored")
    user, password = _login()
    registry = os.environ["DW_SERVICES_REGISTRY"]
    options = ("--registry", registry, "--username", user, "--password-stdin")
    answer = scene.dw("credential", "add", "demo", *options, stdin=password)
    stored = answer.status == 0
    scene.check("the credential is stored, the password not shown", passed=stored and password not in answer.text)
    if not stored:
        raise DemoError("nothing can be pulled without the credential")


def look_at_rights(scene: Scene, worker: Daemon) -> None:
    """In the hardened setting: whose process it is, and how it speaks to Redis and the engine."""
    addresses = [masked(scene.worker_env[name]) for name in ("DW_REDIS_URL", "DOCKER_HOST")]
    for address in addresses:
        scene.show(address)
    status = Path(f"/proc/{worker.process.pid}/status").read_text() if worker.process else ""
    few = re.search(rf"^Uid:\s+{USER}\s.*^CapEff:\s+0+$.*^NoNewPrivs:\s+1$", status, re.MULTILINE | re.DOTALL)
    by_tls = addresses[0].startswith("rediss://") and scene.worker_env["DOCKER_TLS_VERIFY"] == "1"
    scene.check(
        f"the worker is user {USER}, without capabilities, and verifies whom it speaks to", passed=bool(few) and by_tls
    )


def deploy(scene: Scene, tag: str) -> None:
    """A version goes live, and its page comes from the URL that was printed."""
    scene.step(f"{tag} is deployed")
    answer = scene.dw("deploy", STAGE, scene.image(tag))
    found = re.search(r"http://[\w.:\[\]-]+", answer.text)
    page = ""
    if found:
        scene.show(f"$ curl {found[0]}", "dim")
        page = fetch(found[0])
        scene.show(f"  {page}")
    scene.check(f"{tag} is live and serves its page", passed=answer.status == 0 and page == _page(tag))


def fail(scene: Scene, tag: str, title: str, *, causes: tuple[str, ...]) -> None:
    """A deployment that cannot succeed says so, with the image and the cause."""
    scene.step(title)
    answer = scene.dw("deploy", STAGE, scene.image(tag))
    told = all(part in answer.text for part in (scene.image(tag), *causes))
    scene.check(f"{tag} fails and says why", passed=answer.status == 1 and told)


def look_around(scene: Scene) -> None:
    """The version that served still serves, and nothing else is there."""
    scene.step("What is left")
    scene.dw("ps", STAGE)
    listed = scene.listed()
    pages = [fetch(f"http://127.0.0.1:{port}") for live in listed for port in live["ports"].values()]
    scene.check("v2 still serves its page", passed=pages == [_page("v2")])
    alone = len(listed) == 1 == len(scene.existing())
    scene.check("no other container is left", passed=alone)


def fetch(url: str) -> str:
    """A page's text."""
    try:
        return requests.get(url, timeout=5).text.strip()
    except requests.RequestException as error:
        return f"no answer: {error}"


def _page(tag: str) -> str:
    return f"Hello from {tag}"


def _login() -> tuple[str, str]:
    return os.environ["DW_SERVICES_REGISTRY_USER"], os.environ["DW_SERVICES_REGISTRY_PASSWORD"]
