"""What a case may come to, and what a container may be, whatever was asked for."""

import re
from dataclasses import dataclass
from itertools import chain

from tests.fuzz import cases

REFUSALS = {"SpecInvalid", "PolicyDenied"}
_DEPLOYED = {
    *(
        "deployment_id",
        "project",
        "stage",
        "instance_id",
        "host",
        "container_id",
        "container_name",
        "image",
        "image_id",
    ),
    *("digest", "network", "ports", "health", "state", "replaced", "seconds"),
}
_STARTED = {"container_id", "container_name", "ports", "started_at"}
RESULTS = {
    "docker.pull": {"image", "image_id", "digest", "size", "pulled"},
    "docker.inspect": {"image", "image_id", "digest", "ports", "healthcheck", "labels"},
    "docker.ensure_network": {"network", "network_id", "created"},
    "docker.create": {"container_id", "name", "project", "stage", "instance_id", "image", "image_id"},
    "docker.connect": {"network", "network_id", "container_id", "container_name", "addresses", "ports"},
    "docker.start": _STARTED,
    "docker.stop": {"container_id", "container_name", "exit_code"},
    "docker.restart": _STARTED,
    "docker.remove": {"container", "removed"},
    "docker.list": {"containers"},
    "docker.logs": {"container_id", "container_name", "lines"},
    "docker.deploy": _DEPLOYED,
    "docker.stage": {"deployment_id", "project", "stage", "action", "containers"},
    "docker.rollback": _DEPLOYED,
    "docker.cancel": {"deployment_id", "state"},
    "docker.reconcile": {
        *("host", "containers", "removed", "failed", "restored", "adopted", "released", "resumed", "moved"),
    },
    "docker.prune": {"host", "dry_run", "images", "containers", "bytes_freed"},
}
_NOT_ONE_OF_OURS = {"ContainerNotFound", "NotManaged"}
_NOT_PULLED = {"ImageNotFound", "CredentialMissing", "PullDenied"}
_NOT_STARTED = {"StartFailed", "PortInUse", "NetworkNotFound"}
_NOT_FIRST = {"DeploymentCancelled", "DeploymentSuperseded", "DeadlineExceeded"}
_NOT_DEPLOYED = {
    *(_NOT_PULLED | _NOT_STARTED | _NOT_FIRST),
    # The container can be removed meanwhile, by another message.
    *("NameConflict", "Unhealthy", "CutoverFailed", "ContainerNotFound"),
}
ERRORS = {
    "docker.pull": _NOT_PULLED,
    "docker.inspect": {"ImageNotFound"},
    "docker.create": {"ImageNotFound", "CredentialMissing", "NameConflict", "PortInUse", "NetworkNotFound"},
    "docker.connect": _NOT_ONE_OF_OURS | {"NetworkNotFound", "NameConflict", "PortInUse"},
    "docker.start": _NOT_ONE_OF_OURS | _NOT_STARTED,
    "docker.stop": _NOT_ONE_OF_OURS,
    "docker.restart": _NOT_ONE_OF_OURS | _NOT_STARTED,
    "docker.remove": {"NotManaged"},
    "docker.logs": _NOT_ONE_OF_OURS,
    "docker.deploy": _NOT_DEPLOYED,
    "docker.stage": _NOT_FIRST | _NOT_STARTED | {"ContainerNotFound"},
    "docker.rollback": _NOT_DEPLOYED,
}
"""What a case that isn't refused can fail with, where engine and registry are well."""


def judge_outcome(task, outcome):
    """What is wrong with the result that Celery's backend has for a task, if anything."""
    value = outcome["result"]
    if outcome["status"] == "SUCCESS":
        return "" if isinstance(value, dict) and set(value) == RESULTS[task] else f"its result is {value!r:.300}"
    if outcome["status"] == "FAILURE":
        allowed = REFUSALS | ERRORS.get(task, set())
        kind, said = value["exc_type"], value["exc_message"]
        is_told = isinstance(said, list) and len(said) == 2 and isinstance(said[0], str) and isinstance(said[1], dict)
        return "" if kind in allowed and is_told else f"it failed with {kind}: {said!r:.300}"
    return f"it ended as {outcome['status']}"


@dataclass(frozen=True)
class Bounds:
    """What a container may be; `plain` is the engine's word on one that was made with nothing asked for."""

    namespace: str
    network: str
    plain: dict

    def networks(self):
        return {self.network, *(name.format(ns=self.namespace) for name in cases.NETWORKS)}

    def volumes(self):
        return {name.format(ns=self.namespace) for name in cases.VOLUMES}

    def judge(self, container):
        """All that is wrong with a container, as the engine's inspect has it."""
        host, labels = container["HostConfig"], container["Config"]["Labels"]
        own = self.plain["HostConfig"]
        wrong = [f"{key} is {host[key]!r}" for key in sorted(host) if key not in _CHOSEN and host[key] != own.get(key)]
        rules = {
            "network mode": host["NetworkMode"] == self.network,
            "networks": set(container["NetworkSettings"]["Networks"]) <= self.networks(),
            "binds": all(self._is_named_volume(each) for each in host["Binds"] or ()),
            "mounts": all(each["Type"] == "volume" and each["Name"] in self.volumes() for each in container["Mounts"]),
            "ports": all(self._may_be_bound(each) for each in chain(*(host["PortBindings"] or {}).values())),
            "memory": 0 < host["Memory"] <= cases.MEMORY and host["MemorySwap"] in {0, -1, 2 * host["Memory"]},
            "cpus": 0 < host["NanoCpus"] <= cases.CPUS * 1e9,
            "pids": 0 < host["PidsLimit"] <= cases.PIDS,
            "namespace": labels["docker-watcher.namespace"] == self.namespace,
            "project": labels["docker-watcher.project"] in cases.PROJECTS,
            "stage": labels["docker-watcher.stage"] in cases.STAGES,
            "labels": all(self._is_allowed(name) for name in labels),
            "aliases": set(labels["docker-watcher.aliases"].split(","))
            <= {"", f"{labels['docker-watcher.project']}-web"},
        }
        return wrong + [f"its {name}: {container!r}" for name, is_right in rules.items() if not is_right]

    def _is_named_volume(self, bind):
        name, _, path = bind.partition(":")
        return name in self.volumes() and path.startswith("/") and ":" not in path

    def _may_be_bound(self, binding):
        port = binding["HostPort"]
        ranges = (cases.HOST_PORTS, cases.KEPT_PORTS)
        is_allowed = port in {"", "0"} or any(first <= int(port) <= last for first, last in ranges)
        return binding["HostIp"] == "127.0.0.1" and is_allowed

    def _is_allowed(self, label):
        own = self.plain["Config"]["Labels"]
        return label in own or bool(re.fullmatch(r"team|fuzz\.[a-z/.]*|docker-watcher\.[a-z-]+", label))


_CHOSEN = {
    *("NetworkMode", "Binds", "PortBindings", "Memory", "MemorySwap", "NanoCpus", "PidsLimit"),
    *("ReadonlyRootfs", "Init", "RestartPolicy"),
}
"""What differs from one container to the next; all but the last three, which are anybody's to choose, has a rule."""
