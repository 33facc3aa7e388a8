"""A Docker Engine in memory, behind the methods of the SDK's low-level client that the adapter calls.

It answers as the engines do that the tests of `worker.engine` run on: statuses and texts are theirs.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from types import SimpleNamespace

import docker

from tests.simulation.images import BY_NAME, Image

_KILLED = 137
_RESTARTED = {"always", "unless-stopped"}
ONLY_HOST = "local"
"""The host of a run that has only one."""


@dataclass
class Container:
    """A container of the engine; what it is at a time follows from its image's life."""

    id: str
    name: str
    image: Image
    labels: dict
    created: float
    policy: str = "no"
    aliases: dict = field(default_factory=dict)
    """Network to aliases."""
    state: str = "created"
    exit_code: int = 0
    started: float = 0.0
    port: int = 0
    fixed_port: int | None = None
    volumes: tuple = ()
    came_back: bool = False
    """It was started by the engine itself, last."""
    foreign: bool = False
    """Not this installation's: nothing may touch it."""
    stopped_by_user: bool = False
    half_started: bool = False
    """The engine was killed while it started this one, and lost track of it."""
    host: str = ONLY_HOST

    def live_until(self, now):
        life = self.image.life
        if self.state == "running" and life.into == "exited" and now >= self.started + life.turns:
            self.state, self.exit_code = "exited", 3
        if self.state == "running" and life.ends and self.policy == "no" and now >= self.started + life.ends:
            self.state, self.exit_code = "exited", 3

    def health(self, now):
        life = self.image.life
        if not life.healthcheck:
            return None
        if life.fades and now >= self.started + life.fades:
            return "unhealthy"
        return life.into if now >= self.started + life.turns else "starting"


def call(method):
    """Have a method of the client go through the gate, and find the engine down where it is."""

    @wraps(method)
    def through(self, *arguments, **named):
        about = [*map(self._called, arguments), *(named[each] for each in ("name",) if each in named)]
        return self.gate((method.__name__, *about), lambda: method(self, *arguments, **named))

    return through


class EngineApi:
    """The engine, and the client of it. `gate` stands between the two, and decides what befalls a call."""

    base_url = "http+docker://simulated"
    api_version = "1.41"
    timeout = 60

    def __init__(self, clock, gate, host=ONLY_HOST):
        self._clock = clock
        self._host = host
        self.gate = gate
        self.containers_by_id = {}
        self.networks_by_name = {}
        self.pulled = set()
        self.touched = []
        """The names of foreign containers that somebody changed."""
        self.changes = 0
        self.beside = []
        """Containers that were started beside one that has the same volume, unless that came back by itself."""
        self._made = Counter()

    # What befalls the engine itself

    def stop_all(self):
        """End like a daemon that is killed: so do its containers."""
        for container in self._containers():
            if container.state == "running":
                container.state, container.exit_code = "exited", _KILLED

    def start_again(self, random):
        """Start like a daemon: with the containers that are to run whenever it does, in no order."""
        containers = self._containers()
        random.shuffle(containers)
        for container in containers:
            stays = container.policy == "unless-stopped" and container.stopped_by_user
            is_to_run = container.policy in _RESTARTED and not stays and container.state == "exited"
            # One that can't start is not tried again.
            if is_to_run and not container.half_started and not self._holder_of(container.fixed_port):
                self._run(container)
                container.came_back = True
        self.changes += 1

    def lose_track_of(self, name):
        """Be as if killed while starting a container, and started again, with all others as they were."""
        found = self._get(name)
        found.half_started = found.half_started or found.state != "running"

    def add_foreign(self, name, labels, image):
        new_id = self._new_id("container")
        container = Container(new_id, name, image, labels, self._clock.now, foreign=True, host=self._host)
        self.containers_by_id[container.id] = container
        self._run(container)

    # Images

    @call
    def post(self, path, name):
        assert path == "/images/create", "nothing else is posted by itself"
        image = BY_NAME.get(name)
        if image is None:
            return _Stream(404, iter([b"manifest unknown"]))
        return _Stream(200, (json.dumps(line).encode() + b"\n" for line in self._pull(image)))

    def _pull(self, image):
        yield {"status": f"Pulling from {image.reference}", "id": image.tag}
        yield {"status": "Downloading", "id": "layer", "progressDetail": {"current": 1, "total": 2}}
        self.gate(("pull", image.tag), lambda: None)
        if image.pull_error:
            yield {"error": image.pull_error}
            return
        new = image.tag not in self.pulled
        self.pulled.add(image.tag)
        yield {"status": f"Digest: {image.digest}"}
        yield {"status": f"Status: {'Downloaded newer image' if new else 'Image is up to date'}"}

    @call
    def inspect_image(self, image):
        found = BY_NAME.get(image)
        if found is None or found.tag not in self.pulled:
            raise _refusal(404, f"No such image: {image}")
        repository = found.reference.rpartition(":")[0]
        return {
            "Id": found.id,
            "RepoDigests": [f"{repository}@{found.digest}"],
            "Size": 2_000_000,
            "Os": "linux",
            "Architecture": "amd64",
            "Config": {"ExposedPorts": {"8080/tcp": {}}, "Labels": {}},
        }

    # Containers

    @staticmethod
    def create_host_config(**asked):
        return asked

    @staticmethod
    def create_endpoint_config(aliases, ipv4_address):
        assert ipv4_address is None, "no network here has spare addresses"
        return {"Aliases": aliases or []}

    @call
    def create_container(self, *, image, name, labels, host_config, networking_config, **_):
        return self._make(
            name,
            image=BY_NAME[image],
            labels=labels,
            policy=host_config["restart_policy"]["Name"],
            fixed_port=host_config["port_bindings"]["8080/tcp"],
            volumes=tuple(bind.partition(":")[0] for bind in host_config["binds"]),
            aliases={net: list(end["Aliases"]) for net, end in networking_config["EndpointsConfig"].items()},
        )

    @call
    def create_container_from_config(self, config, name):
        host_config, ends = config["HostConfig"], config["NetworkingConfig"]["EndpointsConfig"]
        (like,) = map(self._get, host_config["VolumesFrom"])
        return self._make(
            name,
            image=BY_NAME[config["Image"]],
            labels=config["Labels"],
            policy=host_config["RestartPolicy"]["Name"],
            fixed_port=host_config["PortBindings"]["8080/tcp"],
            volumes=like.volumes,
            aliases={net: list(end["Aliases"]) for net, end in ends.items()},
        )

    @call
    def inspect_container(self, container):
        found, now = self._get(container), self._clock.now
        health = found.health(now) if found.state == "running" else None
        started = datetime.fromtimestamp(found.started, UTC).isoformat()
        ports = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(found.port)}]} if found.state == "running" else {}
        return {
            "Id": found.id,
            "Name": f"/{found.name}",
            "Image": found.image.id,
            "Created": datetime.fromtimestamp(found.created, UTC).isoformat(),
            "RestartCount": 0,
            "HostConfig": {
                "RestartPolicy": {"Name": found.policy},
                "NetworkMode": "shared",
                "PortBindings": {"8080/tcp": found.fixed_port},
            },
            "Config": {"Image": found.image.id, "Labels": found.labels, "Env": []},
            "State": {
                "Status": found.state,
                "ExitCode": found.exit_code,
                "OOMKilled": False,
                "StartedAt": started,
                **({"Health": {"Status": health, "Log": []}} if health else {}),
            },
            "NetworkSettings": {
                "Ports": ports,
                "Networks": {
                    name: {"IPAddress": "10.0.0.2" if ports else "", "Aliases": [*aliases, found.id[:12]]}
                    for name, aliases in found.aliases.items()
                },
            },
        }

    @call
    def containers(self, *, all, filters):  # noqa: A002  # as in the SDK
        wanted = [label.partition("=") for label in filters.get("label", ())]
        name = re.compile(filters.get("name", ""))
        return [
            {
                "Id": each.id,
                "Names": [f"/{each.name}"],
                "Image": each.image.id,
                "ImageID": each.image.id,
                "Labels": each.labels,
                "State": each.state,
                "Status": each.state,
                "Created": int(each.created),
                "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": each.port, "Type": "tcp"}]
                if each.state == "running"
                else [],
                "Mounts": [{"Type": "volume", "Name": volume} for volume in each.volumes],
            }
            for each in self._containers()
            if (all or each.state == "running") and name.search(f"/{each.name}") and all_match(each.labels, wanted)
        ]

    @call
    def start(self, container):
        found = self._touch(container)
        if found.half_started:
            raise _refusal(500, f"task {found.id}: already exists: unknown")
        if found.state != "running":
            missing = [name for name in found.aliases if name not in self.networks_by_name]
            if missing:
                raise _refusal(404, f"network {missing[0]} not found")
            if self._holder_of(found.fixed_port):
                raise _refusal(
                    500,
                    f"driver failed programming external connectivity on endpoint {found.name}: "
                    f"Bind for 0.0.0.0:{found.fixed_port} failed: port is already allocated",
                )
            self._run(found)
            self.beside += [f"{found.name} beside {each.name}" for each in self._sharers_of(found)]

    @call
    def stop(self, container, timeout):  # noqa: ARG002  # as in the SDK
        found = self._touch(container)
        if found.state == "running":
            found.state, found.exit_code = "exited", 0
        found.stopped_by_user = True

    @call
    def restart(self, container, timeout):  # noqa: ARG002  # as in the SDK
        self._run(self._touch(container))

    @call
    def remove_container(self, container, *, v, force):  # noqa: ARG002  # as in the SDK
        found = self._touch(container)
        if found.state == "running" and not force:
            raise _refusal(409, f"You cannot remove a running container {found.id}. Stop the container first")
        del self.containers_by_id[found.id]

    @call
    def update_container(self, container, *, restart_policy):
        self._touch(container).policy = restart_policy["Name"]

    @call
    def rename(self, container, name):
        found = self._touch(container)
        self._refuse_taken(name)
        found.name = name

    @call
    def get(self, path):
        _, _, container, what = path.split("/")
        assert what == "logs", "nothing else is got by itself"
        self._get(container)
        text = b"said something\n"
        return _Stream(200, iter([bytes([1, 0, 0, 0, 0, 0, 0, len(text)]) + text]))

    # Networks

    @call
    def networks(self, *, names=None, filters=None):  # noqa: ARG002  # as in the SDK
        return [
            {"Id": made["Id"], "Name": name, "Created": made["Created"], "Labels": {}}
            for name, made in self.networks_by_name.items()
            if names is None or any(each in name for each in names)
        ]

    @call
    def create_network(self, name, **_):
        if name in self.networks_by_name:
            raise _refusal(409, f"network with name {name} already exists")
        self.networks_by_name[name] = {"Id": self._new_id("network"), "Created": str(self._clock.now)}
        return self.networks_by_name[name]

    @call
    def inspect_network(self, network):
        self._check_network(network)
        return {"IPAM": {"Config": [{"Subnet": "10.0.0.0/16", "Gateway": "10.0.0.1"}]}}

    @call
    def remove_network(self, network):
        self._check_network(network)
        del self.networks_by_name[network]

    def _check_network(self, network):
        if network not in self.networks_by_name:
            raise _refusal(404, f"network {network} not found")

    @call
    def connect_container_to_network(self, container, network, aliases, ipv4_address):  # noqa: ARG002  # as in the SDK
        found = self._touch(container)
        if network not in self.networks_by_name:
            raise _refusal(404, f"network {network} not found")
        if network in found.aliases and found.state == "running":
            raise _refusal(403, f"endpoint with name {found.name} already exists in network {network}")
        found.aliases.setdefault(network, list(aliases or ()))
        self._pick_port(found)

    @call
    def disconnect_container_from_network(self, container, network):
        found = self._touch(container)
        if network not in found.aliases:
            raise _refusal(500, f"container {found.id} is not connected to network {network}")
        del found.aliases[network]

    @call
    def info(self):
        running = sum(each.state == "running" for each in self._containers())
        return {
            "ServerVersion": "20.10.24",
            "NCPU": 2,
            "ContainersRunning": running,
            "DockerRootDir": "/nowhere",
        }

    @call
    def version(self):
        return {"Version": "20.10.24", "Os": "linux", "Arch": "amd64"}

    def close(self):
        pass

    # What these share

    def _make(self, name, **made):
        self._refuse_taken(name)
        container = Container(self._new_id("container"), name, created=self._clock.now, host=self._host, **made)
        self.containers_by_id[container.id] = container
        self.changes += 1
        return {"Id": container.id}

    def _containers(self):
        for container in self.containers_by_id.values():
            container.live_until(self._clock.now)
        return list(self.containers_by_id.values())

    def _get(self, key):
        found = next((each for each in self._containers() if key in {each.id, each.id[:12], each.name}), None)
        if found is None:
            raise _refusal(404, f"No such container: {key}")
        return found

    def _touch(self, key):
        found = self._get(key)
        if found.foreign:
            self.touched.append(found.name)
        self.changes += 1
        return found

    def _run(self, container):
        container.state, container.started = "running", self._clock.now
        container.stopped_by_user = container.came_back = False
        self._pick_port(container)

    def _pick_port(self, container):
        self._made["port"] += 1
        container.port = container.fixed_port or 32768 + self._made["port"]

    def _holder_of(self, port):
        return next(
            (each for each in self._containers() if port and each.state == "running" and each.port == port), None
        )

    def _sharers_of(self, container):
        return [
            each
            for each in self._containers()
            if each is not container
            and each.state == "running"
            and not each.came_back
            and set(each.volumes) & set(container.volumes)
        ]

    def _refuse_taken(self, name):
        holder = next((each for each in self._containers() if each.name == name), None)
        if holder:
            raise _refusal(409, f'Conflict. The container name "/{name}" is already in use by container "{holder.id}".')

    def _new_id(self, kind):
        self._made[kind] += 1
        where = "" if self._host == ONLY_HOST else f" on {self._host}"
        return hashlib.sha256(f"{kind} {self._made[kind]}{where}".encode()).hexdigest()

    def _called(self, argument):
        """How the story calls what a call is about."""
        found = self.containers_by_id.get(argument)
        return found.name if found else argument


def all_match(labels, wanted):
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in wanted)


class _Stream:
    """An answer that comes piece by piece."""

    def __init__(self, status, pieces):
        self.status, self.reason = status, ""
        self._pieces = pieces

    def __str__(self):
        return f"a stream of status {self.status}"

    def read1(self, _):
        return next(self._pieces, b"")


def _refusal(status, text):
    response = SimpleNamespace(status_code=status, reason=text, url="")
    return docker.errors.APIError(text, response=response, explanation=text)


def failure_inside():
    """What an engine answers that fails inside itself."""
    return _refusal(500, "context deadline exceeded")
