"""Which names and aliases a container may have, and which it has for the time being."""

import hashlib
from collections.abc import Collection, Iterable, Sequence

from worker.engine import Container, Listed
from worker.errors import NameConflict
from worker.labels import Label, Labels
from worker.spec import DeploymentSpec


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


def temporary_name(wanted: str, deployment_id: str) -> str:
    """The name of a candidate that waits for its name, or of an older instance that has lost it."""
    # Not the id's beginning: clients choose ids, and may choose `deploy-1` and `deploy-10`.
    return f"{wanted}-{hashlib.sha256(deployment_id.encode()).hexdigest()[:8]}"


def has_temporary_name(container: Container | Listed, deployment_id: str) -> bool:
    """Whether a container is a candidate that an older instance keeps from its name, or has lost it as the older."""
    return container.name.endswith(temporary_name("", deployment_id))


def lost_name(container: Listed, deployment_id: str) -> str | None:
    """The name that a container had, or was to get, where it has one for the time being."""
    name, is_temporary, _ = container.name.partition(temporary_name("", deployment_id))
    return name if is_temporary else None


def was_promoted(labels: Labels, container: Container) -> bool:
    """Whether a container has what a candidate lacks until it is promoted: its name, and its restart policy."""
    asked = labels.value_of(container, Label.RESTART).partition(":")[0]
    has_policy = asked in {"", "no"} or container.restart != "no"
    return has_policy and not has_temporary_name(container, labels.deployment_of(container))
