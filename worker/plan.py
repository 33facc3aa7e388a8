"""The decisions of a deployment, as plain functions of what is asked for and what is there."""

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from worker.engine import Container, ContainerSpec, Listed, ListedImage
from worker.errors import ContainerNotFound, NameConflict, PortInUse, SpecInvalid
from worker.keyring import Keyring
from worker.labels import Label, Labels
from worker.record import Version
from worker.reference import ImageReference
from worker.spec import DeploymentSpec, HostPort, RollbackArguments, StageOrder
from worker.store import Standing

_MOST_NAMED = 5
_MOST_ADDRESSES_LOOKED_AT = 256
UP = {"running", "restarting", "paused"}
"""The states of a container that holds its ports, now or in a moment."""
_NOT_IN_CONTAINER = {
    "image",
    "credential",
    "policy",
    "host",
    "strategy",
    "keep",
    "timeout",
    "health",
    "force",
    "secret_env",
}


def fingerprints(
    keyring: Keyring, spec: DeploymentSpec, image_id: str, network: str, secrets: Mapping[str, str]
) -> tuple[str, ...]:
    """What is the same for the same image and arguments, as far as they reach the container; under each key.

    `secrets` has the values of `secret_env`: sealed anew, the same value is no change. The first fingerprint is the
    one to write; another one fits a container of before the keys were rotated.
    """
    # Without defaults, so that an argument which only a later version knows leaves what runs unchanged. Left out or
    # given, a default means the same; where a version changes one, it reaches a container with the next real change.
    asked = spec.model_dump(mode="json", exclude=_NOT_IN_CONTAINER, exclude_defaults=True)
    return keyring.fingerprints(json.dumps([image_id, network, asked, dict(secrets)], sort_keys=True))


def published_ports(
    spec: DeploymentSpec, exposed: Sequence[str], keepable: Iterable[int] = (), tried: Sequence[int] = ()
) -> dict[str, int | None]:
    """Every EXPOSEd port and every one asked for; None is a host port that the engine picks (R13).

    One that is to be kept takes the next of `keepable`, host ports in the order in which they are to be tried, that
    isn't among those tried in vain. Raises PortInUse where none is left.
    """
    free = (port for port in keepable if port not in tried)
    return {
        **dict.fromkeys(exposed),
        **{each: _host_port(spec, each, asked, free) for each, asked in spec.ports.items()},
    }


def _host_port(spec: DeploymentSpec, port: str, asked: HostPort | None, free: Iterator[int]) -> int | None:
    if asked != "keep":
        return asked
    try:
        return next(free)
    except StopIteration:
        raise PortInUse(
            f"Creating a container of image {spec.image} failed: no port of DW_PORT_RANGE is left for {port} of "
            f"{spec.where}; widen the range, or remove a stage that keeps one.",
            {"step": "create", "image": spec.image, "port": port},
        ) from None


def spare_address(spare: IPv4Network, taken: Collection[str]) -> str | None:
    """One of a network's spare addresses that is nobody's; None where there are none left to be found."""
    # Not the next one: two deployments at once seldom pick the same then. The last one is the network's broadcast.
    places = range(spare.num_addresses - 1)
    picked = (str(spare[place]) for place in random.sample(places, min(len(places), _MOST_ADDRESSES_LOOKED_AT)))
    return next((each for each in picked if each not in taken), None)


def displaced(spec: DeploymentSpec, older: Sequence[Listed]) -> list[Listed]:
    """The older instances that are stopped before the new one is started, oldest first.

    Where both can't run at once, these are the ones that stand in its way; with `stop-first`, also those that it
    replaces.
    """
    if spec.strategy == "start-first":
        return []
    replaced = {each.id for each in surplus(older, spec.keep)} if spec.strategy == "stop-first" else set()
    up = [each for each in older if each.state in UP]
    return [each for each in up if each.id in replaced or stands_in_the_way(spec, each)][::-1]


def stands_in_the_way(spec: DeploymentSpec, other: Listed) -> bool:
    """Whether a running container has a host port, or a volume, that the new one must have for itself."""
    fixed = {(port.partition("/")[2], asked) for port, asked in spec.ports.items() if isinstance(asked, int)}
    if fixed and other.state == "restarting":
        # Its ports aren't listed until it runs once more.
        return True
    held = {(port.partition("/")[2], host_port) for port, host_port in other.ports.items()}
    exclusive = {name for name, volume in spec.volumes.items() if volume.exclusive}
    return bool(fixed & held or exclusive & set(other.volumes))


def check_aliases(labels: Labels, where: str, aliases: Collection[str], others: Iterable[Listed]) -> None:
    """Refuse aliases of a stage by which any of these containers, other stages' or nobody's here, is found.

    The engine's DNS would hand out both, and one stage could take what is meant for another. Of containers that aren't
    managed here it is known by which name and id they are found, and no aliases.

    Raises NameConflict.
    """
    wanted = {each.lower() for each in aliases}
    for other in others:
        is_ours = labels.are_ours(other.labels)
        if is_ours and labels.stage_of(other) == where:
            continue
        held = labels.values_of(other, Label.ALIASES) if is_ours else []
        if taken := wanted & {each.lower() for each in (other.name, other.id[:12], *held)}:
            raise NameConflict(
                f"Container {other.name} is found as {', '.join(sorted(taken))} already, and isn't {where}'s: choose "
                "another alias.",
                {"container": other.name},
            )


def choose_name(wanted: str, older: Sequence[Listed], deployment_id: str) -> str:
    """The deterministic name, or one for the time being where an older instance of the stage holds that."""
    return temporary_name(wanted, deployment_id) if any(each.name == wanted for each in older) else wanted


def check_holder(name: str, labels: Labels, spec: DeploymentSpec, holder: Listed | None) -> None:
    """Say whose it is, where anybody else than the stage itself has a container of that name.

    Raises NameConflict.
    """
    if holder is None or (labels.are_ours(holder.labels) and labels.stage_of(holder) == spec.where):
        return
    owner = "another stage" if labels.are_ours(holder.labels) else "something else than docker-watcher"
    raise NameConflict(
        f"Creating container {name} of image {spec.image} failed: {owner} has a container of that name, which is "
        "left alone; remove or rename it.",
        {"step": "create", "container": name, "image": spec.image},
    )


def temporary_name(wanted: str, deployment_id: str) -> str:
    """The name of a candidate that waits for its name, or of an older instance that has lost it."""
    # Not the id's beginning: clients choose ids, and may choose `deploy-1` and `deploy-10`.
    return f"{wanted}-{hashlib.sha256(deployment_id.encode()).hexdigest()[:8]}"


def was_promoted(labels: Labels, container: Container) -> bool:
    """Whether a container has what a candidate lacks until it is promoted: its name, and its restart policy."""
    asked = labels.value_of(container, Label.RESTART).partition(":")[0]
    has_policy = asked in {"", "no"} or container.restart != "no"
    return has_policy and not has_temporary_name(container, labels.deployment_of(container))


def has_temporary_name(container: Container | Listed, deployment_id: str) -> bool:
    """Whether a container is a candidate that an older instance keeps from its name, or has lost it as the older."""
    return container.name.endswith(temporary_name("", deployment_id))


def lost_name(container: Listed, deployment_id: str) -> str | None:
    """The name that a container had, or was to get, where it has one for the time being."""
    name, is_temporary, _ = container.name.partition(temporary_name("", deployment_id))
    return name if is_temporary else None


def rollback_target(asked: RollbackArguments, lives: Sequence[Version], present: Version | None) -> Version:
    """The version to go back to: the one asked for, or else the newest of `lives` that isn't the same as the present.

    Raises SpecInvalid where there is none.
    """
    if asked.to is not None:
        found = next((each for each in lives if each.deployment_id == asked.to), None)
        field, known = "to", ", ".join(each.deployment_id for each in lives[:_MOST_NAMED]) or "none"
        reason = f"no deployment {asked.to} that was live in {asked.where} is remembered; the last that were: {known}"
    else:
        found = next((each for each in lives if present is None or not _is_same(each, present)), None)
        field, reason = "stage", f"no version that was live in {asked.where} before is remembered"
    if found is None:
        raise SpecInvalid(
            f"There is nothing to go back to: {reason}; deploy the image that is wanted.",
            {"step": "accept", "fields": {field: reason}},
        )
    return found


def rollback_arguments(version: Version) -> dict[str, object]:
    """The arguments of `docker.deploy` for the same version again, by its digest, wherever its tag points by now.

    Less `force`: who goes back to what is live already wants no new container; and less `host`: it is wanted where the
    stage is by now.
    """
    reference = ImageReference.parse(version.spec.image)
    image = replace(reference, digest=version.digest or reference.digest)
    asked = version.spec.model_dump(exclude_defaults=True, exclude={"force", "host"})
    return {**asked, "image": str(image), "policy": "missing"}


def _is_same(version: Version, other: Version) -> bool:
    asked, other_asked = (each.spec.model_dump(exclude=_NOT_IN_CONTAINER - {"secret_env"}) for each in (version, other))
    return (version.image_id, asked) == (other.image_id, other_asked)


def live_twin(labels: Labels, older: Sequence[Listed], marks: Collection[str]) -> Listed | None:
    """The newest instance that runs, if it was made of the same image with the same arguments."""
    newest = next((each for each in older if each.state == "running"), None)
    return newest if newest and labels.value_of(newest, Label.FINGERPRINT) in marks else None


def surplus(older: Sequence[Listed], keep: int) -> list[Listed]:
    """The older instances, newest first, that go, oldest first; `keep` counts the live one."""
    return list(older[keep - 1 :])[::-1]


def verdict(container: Container, *, stable: float, running_for: float) -> str | None:
    """`healthy` or `running` once a container is proven, `failed` or `unhealthy` if it never will be; else None."""
    if container.state != "running" or container.restart_count:
        return "failed"
    if container.health == "starting":
        return None
    if container.health is not None:
        return container.health
    return "running" if running_for >= stable else None


def was_killed(container: Container) -> bool:
    """Whether a container may have been ended from outside, as an engine does with what it finds after its own death.

    By SIGTERM, which servers answer with 0 or 128 + 15, or by SIGKILL, 128 + 9; 255 is what engines say of one that
    ended while they were away.
    """
    return container.state == "exited" and container.exit_code in {0, 137, 143, 255} and not container.oom_killed


def is_leftover(container: Listed, standing: Standing | None, *, deployed: bool, moved_at: float | None = None) -> bool:
    """Whether a container is of no use any more: its deployment has ended without it, or its stage lives elsewhere.

    `deployed` tells a deployment's container from one that `docker.create` made; `moved_at` is when the version was
    asked for that is live on another host. Of a deployment that has no record, as after the loss of Redis, only what
    doesn't run goes, and what is older than that: nobody can tell what the rest is good for.
    """
    if standing is None:
        is_older = moved_at is not None and container.created < moved_at
        return deployed and (container.state in {"created", "dead"} or is_older)
    if standing.outcome is None:
        return False
    if moved_at is not None:
        return deployed
    # An adopted version that was live before is known without its container, which can be there still.
    return not standing.went_live or standing.container_id not in {None, container.id}


def can_move(spec: DeploymentSpec) -> bool:
    """Whether a stage may go to another host: it can be on two hosts for a while, and leaves no data behind."""
    return not spec.volumes and spec.strategy != "stop-first"


def check_move(spec: DeploymentSpec, hosts: Sequence[str]) -> None:
    """Refuse to move what can't from the hosts that have it.

    Raises SpecInvalid.
    """
    if not hosts or can_move(spec):
        return
    reason = "and its volumes' data stays there" if spec.volumes else "and stop-first can't be kept between two hosts"
    raise SpecInvalid(
        f"{spec.about} failed: the stage is on host {', '.join(hosts)}, {reason}; deploy it there, or remove it first.",
        {"step": "create", "image": spec.image, "fields": {"host": f"the stage is on {', '.join(hosts)}"}},
    )


def check_order(order: StageOrder, found: Sequence[Listed]) -> None:
    """Refuse an order to a stage with these containers that can't be carried out, before one of them is touched.

    Raises ContainerNotFound, SpecInvalid.
    """
    if not found:
        raise ContainerNotFound.in_stage(order.where)
    running = next((each for each in found if each.state in UP), None)
    if running and order.action == "remove" and not order.force:
        raise SpecInvalid(
            f"Removing container {running.name} failed: it runs; stop it first, or remove it by force.",
            {"container": running.name, "fields": {"force": "is needed for what runs"}},
        )


def is_ours_alone(image: ListedImage, pulled_as: Collection[str]) -> bool:
    """Whether an image was pulled under these names, and has none that somebody else gave it.

    Digests aren't given but come with pulls and pushes: one of a repository that it was pulled from is ours.
    """
    repositories = {ImageReference.parse(each).name for each in pulled_as}
    return (
        bool(pulled_as)
        and set(image.tags) <= set(pulled_as)
        and {each.partition("@")[0] for each in image.digests} <= repositories
    )


def container_spec(
    spec: DeploymentSpec,
    *,
    deployment_id: str,
    labels: Labels,
    name: str,
    network: str,
    image_id: str,
    digest: str | None,
    ports: Mapping[str, int | None],
    stop_timeout: int,
) -> ContainerSpec:
    """All that the engine is told, but for the secrets: the caller's labels never hide ours (R10).

    `stop_timeout`, in seconds, is for one that asks for none.
    """
    ours = labels.select(
        project=spec.project,
        stage=spec.stage,
        instance=spec.instance_id or deployment_id,
        deployment=deployment_id,
        image=str(ImageReference.parse(spec.image)),
        digest=digest or "",
        aliases=",".join(spec.aliases),
        secrets=",".join(sorted(spec.secret_env)),
        restart=spec.restart,
        kept_ports=",".join(str(ports[each]) for each, asked in spec.ports.items() if asked == "keep"),
    )
    return ContainerSpec(
        name=name,
        image=str(ImageReference.parse(spec.image)),
        image_id=image_id,
        network=network,
        aliases=spec.aliases,
        # An image's own labels become the container's, unless these are in their place.
        labels={**spec.labels, **dict.fromkeys((labels.key(each) for each in Label), ""), **ours},
        environment=spec.env,
        ports=ports,
        command=spec.command,
        user=spec.user,
        volumes={name: volume.path for name, volume in spec.volumes.items()},
        memory=spec.memory,
        cpus=spec.cpus,
        pids=spec.pids,
        read_only=spec.read_only,
        init=spec.init,
        stop_timeout=stop_timeout if spec.stop_timeout is None else spec.stop_timeout,
        restart=spec.restart,
    )


def candidate(
    container: ContainerSpec,
    *,
    name: str,
    labels: Labels,
    mark: str,
    remembered: Mapping[Label, str],
    withhold_aliases: bool,
) -> ContainerSpec:
    """The same for a container that has yet to be proven, and gets what it lacks when it is promoted.

    Not restarted, its first end is its last, with exit code and output to show. Without aliases that an older
    instance may hold, nobody reaches it by them: the engine's DNS hands out both, proven or not. `remembered` is what
    its container keeps in case the records are lost.
    """
    return replace(
        container,
        name=name,
        restart="no",
        aliases=() if withhold_aliases else container.aliases,
        labels={
            **container.labels,
            labels.key(Label.FINGERPRINT): mark,
            **{labels.key(label): text for label, text in remembered.items()},
        },
    )
