"""Two hosts: the usual engine, and a second one on the same machine, each with workers of its own."""

import contextlib
import dataclasses
import json
import os
import signal

import docker

from tests.second_engine import with_options

LABEL = "docker-watcher."


class Fleet:
    """An installation with two hosts, by their names: `one` is the usual engine, `two` the second."""

    def __init__(self, installation, client, addresses):
        self.installation = installation
        self.client = client
        self.addresses = addresses
        self.engines = {name: docker.APIClient(each, version="auto") for name, each in addresses.items()}
        self.workers = {}

    @contextlib.contextmanager
    def worker(self, host, *options, **changed):
        """A worker of a host, until the block ends; it may have been killed by then."""
        environment = {"DW_HOST": host, "DOCKER_HOST": self.addresses[host], **changed}
        with self.installation.worker(self.client, *options, **environment) as process:
            self.workers[host] = process
            yield process

    def kill(self, host):
        self.workers[host].send_signal(signal.SIGKILL)
        self.workers[host].wait()

    def dw(self, *arguments):
        ran = self.installation.dw(*arguments, "--json")
        return json.loads(ran.stdout or "{}") | {"exit": ran.returncode}

    def state(self, host):
        return {each["host"]: each["state"] for each in self.dw("hosts")["hosts"]}.get(host)

    def containers(self, host, project):
        """Those of a project on a host's engine, as that lists them: names by state."""
        ours = {"label": [f"{LABEL}namespace={self.installation.namespace}", f"{LABEL}project={project}"]}
        return self.engines[host].containers(all=True, filters=ours)

    def close(self):
        for each in self.engines.values():
            for container in each.containers(
                all=True, filters={"label": f"{LABEL}namespace={self.installation.namespace}"}
            ):
                with contextlib.suppress(docker.errors.APIError):
                    each.remove_container(container["Id"], force=True, v=True)
            for network in each.networks(filters={"label": f"{LABEL}namespace={self.installation.namespace}"}):
                with contextlib.suppress(docker.errors.APIError):
                    each.remove_network(network["Id"])
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
    project: str
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

    def listed(self):
        """What any worker tells of it: host and container."""
        found = self.ask("docker.list", project=self.project, all=True)["containers"]
        return {(each["host"], each["container_id"]) for each in found}
