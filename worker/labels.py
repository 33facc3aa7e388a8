"""The labels that make a container managed (R10), and the names of containers (R11)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from worker.reference import ImageReference

SHORTEST_ID = 12
"""The fewest characters of a container's id by which it is known."""


class Label(StrEnum):
    """What follows the prefix in a label's name."""

    NAMESPACE = "namespace"
    PROJECT = "project"
    STAGE = "stage"
    INSTANCE = "instance-id"
    DEPLOYMENT = "deployment-id"
    IMAGE = "image"
    DIGEST = "digest"
    FINGERPRINT = "fingerprint"
    SPEC = "spec"
    """The deployment's arguments, sealed: what is known of it where Redis was lost; empty where there is no key."""
    PREVIOUS = "previous"
    """The version that was live last before this one, sealed likewise."""
    RESTART = "restart"
    """The restart policy that was asked for; the container's own is `no` while it is a candidate, or stopped."""
    KEPT_PORTS = "kept-ports"
    """Host ports that are this container's also while it is stopped, comma-separated."""
    DISPLACED = "displaced"
    """Ids of older containers that were stopped for this one to start, comma-separated."""
    ALIASES = "aliases"
    """By which it is found on its networks, now or once it is proven, comma-separated."""
    SECRETS = "secret-variables"
    """The names of the variables whose values are shown nowhere, comma-separated."""


class Labelled(Protocol):
    """A container, as far as its labels go."""

    @property
    def labels(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Labels:
    """The labels of one installation: `docker-watcher.project` and its like, in one namespace."""

    prefix: str
    namespace: str

    def key(self, label: Label) -> str:
        return f"{self.prefix}.{label}"

    def select(self, **values: str | None) -> dict[str, str]:
        """The labels of this namespace's containers with these values; `project="shop"`; None is no condition."""
        wanted = {Label[name.upper()]: value for name, value in values.items() if value is not None}
        return {self.key(label): value for label, value in {Label.NAMESPACE: self.namespace, **wanted}.items()}

    def value_of(self, container: Labelled, label: Label) -> str:
        """What a container's label says; empty where it has none."""
        return container.labels.get(self.key(label), "")

    def values_of(self, container: Labelled, label: Label) -> list[str]:
        """The same of one that says several things, comma-separated."""
        return [each for each in self.value_of(container, label).split(",") if each]

    def deployment_of(self, container: Labelled) -> str:
        """The id of the deployment that made a container; empty where it is none of ours."""
        return self.value_of(container, Label.DEPLOYMENT)

    def stage_of(self, container: Labelled) -> str:
        """The stage of a container, as people write it: `shop/staging`."""
        return f"{self.value_of(container, Label.PROJECT)}/{self.value_of(container, Label.STAGE)}"

    def restart_policy_of(self, container: Labelled) -> str:
        """The restart policy that a container is to have once it is proven, and isn't stopped by hand."""
        return self.value_of(container, Label.RESTART) or "always"

    def are_ours(self, labels: Mapping[str, str]) -> bool:
        """Whether a container with these labels is managed in this namespace."""
        return (
            labels.get(self.key(Label.NAMESPACE)) == self.namespace
            and bool(labels.get(self.key(Label.PROJECT)))
            and bool(labels.get(self.key(Label.STAGE)))
        )


def container_name(prefix: str, project: str, stage: str, image: ImageReference) -> str:
    """`dw-shop-staging-1.4.2`: deterministic, but it identifies nothing, since `a-b` + `c` is `a` + `b-c`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"{prefix}-{project}-{stage}-{image.label}")
