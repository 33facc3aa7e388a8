"""What Flower and Prometheus show of some deployments, as pictures for the documentation: `make screenshots`."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from playwright.sync_api import Page

from compose import jobimage, prometheus_server
from compose.browser import chromium
from compose.demo.__main__ import prepare
from compose.demo.scene import PATIENCE, DemoError, Scene
from compose.demo.story import store_credential
from compose.ports import free_port
from compose.process import Daemon

FOLDER = Path("docs/images")
SIZE = {"width": 1480, "height": 860}
LOGIN = ("operator", "a password of its own")
SHOP, BLOG = "shop/staging", "blog/live"
BROKEN = ("/bin/busybox", "sh", "-c", "echo 'shop: DATABASE_URL is not set'; exit 3")
NEVER_PROVEN = 600


@dataclass(frozen=True)
class Flower:
    """Flower's HTTP API, as any producer uses it."""

    url: str

    def send(self, task: str, **arguments: object) -> str:
        """Send a task, and return its id."""
        url = f"{self.url}/api/task/send-task/{task}"
        answer = requests.post(url, json={"kwargs": arguments}, auth=LOGIN, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["task-id"])

    def about(self, task_id: str) -> dict[str, Any]:
        """What Flower knows of a task; nothing, where it has not heard of it."""
        answer = requests.get(f"{self.url}/api/task/info/{task_id}", auth=LOGIN, timeout=10)
        return dict(answer.json()) if answer.ok else {}

    def deploy(self, stage: str, image: str) -> str:
        """Deploy, and return the id once that has ended, well or not."""
        task_id = self.send("docker.deploy", **_asked(stage, image))
        wait_until(lambda: self.about(task_id).get("state") in {"SUCCESS", "FAILURE"})
        return task_id

    def hears(self) -> bool:
        """Whether it is told what workers do."""
        try:
            task_id = self.send("docker.list")
        except requests.ConnectionError:
            return False
        time.sleep(0.5)
        return self.about(task_id).get("state") == "SUCCESS"


def main() -> int:
    """Deploy, fail, and photograph what is seen of it while one more deployment runs."""
    scene = prepare()
    # What is named after the run would look odd.
    scene.env |= {"DW_HOST": "web-1", "DW_METRICS_PORT": str(free_port())}
    FOLDER.mkdir(exist_ok=True)
    try:
        _push_images(scene)
        store_credential(scene)
        with scene.worker("--hostname", "worker@web-1"), _flower(scene) as flower, _prometheus(scene) as prometheus:
            ids = _tell(scene, flower)
            with chromium() as browser:
                login = {"username": LOGIN[0], "password": LOGIN[1]}
                window = browser.new_context(viewport=SIZE, http_credentials=login)  # type: ignore[arg-type]  # plain dicts
                _photograph_flower(window.new_page(), flower, ids)
                _photograph_prometheus(window.new_page(), prometheus)
    finally:
        scene.tidy()
    return 0


def _push_images(scene: Scene) -> None:
    user, password = os.environ["DW_SERVICES_REGISTRY_USER"], os.environ["DW_SERVICES_REGISTRY_PASSWORD"]
    for name, tag in (("shop", "1.4.1"), ("shop", "1.4.2"), ("shop", "1.5.0"), ("blog", "2.0"), ("blog", "2.1")):
        image = _image(scene, name, tag)
        command = BROKEN if tag == "1.5.0" else jobimage.SERVE
        # Without one it is proven by time alone, and so runs for as long as is asked for.
        healthcheck = None if tag == "2.1" else jobimage.HEALTHCHECK
        page = f"{name} {tag}\n"
        jobimage.build_job_image(scene.client, image, page=page, command=command, healthcheck=healthcheck)
        jobimage.push(scene.client, image, user, password)
        scene.client.remove_image(image, force=True)  # so that deploying pulls it


def _image(scene: Scene, name: str, tag: str) -> str:
    return f"{scene.repository.rpartition('/')[0]}/{name}:{tag}"


def _tell(scene: Scene, flower: Flower) -> dict[str, str]:
    """Two versions live, one that fails, one that runs: their ids by what became of them."""
    flower.deploy(SHOP, _image(scene, "shop", "1.4.1"))
    flower.deploy(BLOG, _image(scene, "blog", "2.0"))
    live = flower.deploy(SHOP, _image(scene, "shop", "1.4.2"))
    failed = flower.deploy(SHOP, _image(scene, "shop", "1.5.0"))
    health = {"stable": NEVER_PROVEN, "timeout": NEVER_PROVEN}
    running = flower.send("docker.deploy", **_asked(BLOG, _image(scene, "blog", "2.1")), health=health)
    wait_until(lambda: flower.about(running).get("result") == "step prove")
    return {"live": live, "failed": failed, "running": running}


def _asked(stage: str, image: str) -> dict[str, str]:
    project, _, name = stage.partition("/")
    return {"project": project, "stage": name, "image": image}


@contextlib.contextmanager
def _flower(scene: Scene) -> Iterator[Flower]:
    port = free_port()
    env = {**scene.env, "FLOWER_BASIC_AUTH": ":".join(LOGIN), "FLOWER_PORT": str(port)}
    command = [sys.executable, "-m", "celery", "-A", "worker", "flower"]
    daemon = Daemon("flower", command, Path(scene.env["DW_SERVICES_STATE"]), env)
    flower = Flower(f"http://127.0.0.1:{port}")
    daemon.start()
    try:
        daemon.wait_until(flower.hears, PATIENCE)
        yield flower
    finally:
        daemon.stop()


@contextlib.contextmanager
def _prometheus(scene: Scene) -> Iterator[str]:
    target = f"127.0.0.1:{scene.env['DW_METRICS_PORT']}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "prometheus.yml")
        scrape = {"job_name": "docker-watcher", "static_configs": [{"targets": [target]}]}
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
        with prometheus_server.private(Path(folder), config) as url:
            yield url


def _photograph_flower(page: Page, flower: Flower, ids: dict[str, str]) -> None:
    page.goto(f"{flower.url}/tasks")
    page.locator("#tasks-table tbody tr").nth(10).wait_for()
    _photograph(page, "flower-tasks")
    for name, task_id in ids.items():
        page.goto(f"{flower.url}/task/{task_id}")
        _photograph(page, f"flower-{name}")
    page.goto(f"{flower.url}/workers")
    page.get_by_text("worker@web-1").wait_for()
    _photograph(page, "flower-workers", height=600)
    page.goto(f"{flower.url}/broker")
    _photograph(page, "flower-broker", height=450)


def _photograph_prometheus(page: Page, url: str) -> None:
    # Debian's has but the older one of its two faces.
    query = urlencode({"g0.expr": "sum by (result, error) (dw_deployments_total) > 0", "g0.tab": 1})
    page.goto(f"{url}/classic/graph?{query}")
    page.get_by_text("result=").first.wait_for()
    _photograph(page, "prometheus", height=520)


def _photograph(page: Page, name: str, height: int = SIZE["height"]) -> None:
    picture = FOLDER / f"{name}.png"
    page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": height})
    subprocess.run(["pngquant", "--force", "--skip-if-larger", "--output", picture, picture], check=True)
    print(picture)


def wait_until(happens: Callable[[], bool]) -> None:
    """Wait for what a deployment brings about."""
    give_up_at = time.monotonic() + PATIENCE
    while not happens():
        if time.monotonic() > give_up_at:
            raise DemoError(f"not within {PATIENCE} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
