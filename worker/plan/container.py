"""What the engine is told of a deployment's container."""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from worker.engine import ContainerSpec
from worker.errors import PortInUse
from worker.labels import Label, Labels
from worker.reference import ImageReference
from worker.spec import DeploymentSpec, HostPort

_MOST_ADDRESSES_LOOKED_AT = 256


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
