"""Two hosts: the usual engine, and a second one on the same machine, each with workers of its own."""

import contextlib
import dataclasses
import json
import os
import uuid

import docker

from tests.flow.conftest import until
from tests.second_engine import with_options
from tests.services import remove_managed

LABEL = "docker-watcher."


class Fleet:
    """An installation with two hosts, by their names: `one` is the usual engine, `two` the second."""

    def __init__(self, installation, client, addresses):
        self.installation = installation
        self.client = client
        self.addresses = addresses
        self.engines = {name: docker.APIClient(each, version="auto") for name, each in addresses.items()}
        self.workers = {}
        self._started = contextlib.ExitStack()

    def start(self, host):
        """Start a host's worker, and await that it is heard of."""
        environment = {"DW_HOST": host, "DOCKER_HOST": self.addresses[host]}
        self.workers[host] = self._started.enter_context(self.installation.worker(self.client, **environment))
        until(lambda: self.state(host) == "there")

    def lose(self, host):
        """Kill a host's worker, and await that the host counts as away."""
        self.workers[host].kill()
        self.workers[host].wait()
        until(lambda: self.state(host) == "away")

    def dw(self, *arguments):
        ran = self.installation.dw(*arguments, "--json")
        return json.loads(ran.stdout or "{}") | {"exit": ran.returncode}

    def state(self, host):
        return {each["host"]: each["state"] for each in self.dw("hosts")["hosts"]}.get(host)

    def containers(self, host, project):
        """Those of a project on a host's engine, as that lists them."""
        ours = {"label": [f"{LABEL}namespace={self.installation.namespace}", f"{LABEL}project={project}"]}
        return self.engines[host].containers(all=True, filters=ours)

    def close(self):
        self._started.close()
        for each in self.engines.values():
            remove_managed(each, self.installation.namespace)
            each.close()


@contextlib.contextmanager
def fleet_of(installation, client, worker_id):
    """Both engines, without workers yet."""
    with with_options(worker_id) as second:
        fleet = Fleet(installation, client, {"one": os.environ["DOCKER_HOST"], "two": second})
        try:
            yield fleet
        finally:
            fleet.close()


@dataclasses.dataclass(frozen=True)
class Placed:
    """A stage, and what is asked of it."""

    fleet: Fleet
    project: str = dataclasses.field(default_factory=lambda: f"p{uuid.uuid4().hex[:8]}")
    name: str = "live"

    @property
    def where(self):
        return f"{self.project}/{self.name}"

    def send(self, image="shop:v1", **arguments):
        reference = image if "/" in image else self.fleet.installation.image(*image.split(":"))
        given = {"project": self.project, "stage": self.name, "image": reference, **arguments}
        return self.fleet.client.send_task("docker.deploy", kwargs=given)

    def deploy(self, image="shop:v1", **arguments):
        return self.send(image, **arguments).get(timeout=90)

    def ask(self, task, **arguments):
        return self.fleet.client.send_task(task, kwargs=arguments).get(timeout=90)

    def on(self, host):
        """The ids of its containers on a host."""
        return {each["Id"] for each in self.fleet.containers(host, self.project)}

    def clear(self):
        for host, engine in self.fleet.engines.items():
            for each in self.on(host):
                with contextlib.suppress(docker.errors.APIError):
                    engine.remove_container(each, force=True, v=True)

    def listed(self):
        """What any worker tells of it: host and container."""
        found = self.ask("docker.list", project=self.project, all=True)["containers"]
        return {(each["host"], each["container_id"]) for each in found}
