"""Images that a simulated registry has, and the lives of the containers that are made of them."""

import hashlib
from dataclasses import dataclass

REPOSITORY = "registry.test/acme/shop"


@dataclass(frozen=True)
class Life:
    """What becomes of a started container; times are in seconds after its start."""

    healthcheck: bool = False
    turns: float = 0
    """When its first health check is done, or it exits."""
    into: str = "healthy"
    """`healthy`, `unhealthy`, `starting` (for ever) or `exited`."""

    fades: float = 0
    """When it turns unhealthy after it was healthy, if it does."""
    ends: float = 0
    """When it exits, unless the engine is to start it again at once."""

    @property
    def good(self):
        return self.into == "healthy"


@dataclass(frozen=True)
class Image:
    """An image of the registry, or the lack of one."""

    tag: str
    life: Life
    pull_error: str | None = None

    @property
    def reference(self):
        return f"{REPOSITORY}:{self.tag}"

    @property
    def digest(self):
        return f"sha256:{hashlib.sha256(f'manifest {self.tag}'.encode()).hexdigest()}"

    @property
    def id(self):
        return f"sha256:{hashlib.sha256(f'image {self.tag}'.encode()).hexdigest()}"

    @property
    def good(self):
        return self.life.good and self.pull_error is None


GOOD = (
    Image("1", Life()),
    Image("2", Life(healthcheck=True, turns=0.7)),
    Image("3", Life(healthcheck=True, turns=2.5)),
    Image("4", Life(healthcheck=True, turns=0.3, fades=0.8)),
    Image("5", Life(ends=1.3)),
)
BROKEN = (
    Image("exits", Life(turns=0.4, into="exited")),
    Image("unhealthy", Life(healthcheck=True, turns=0.8, into="unhealthy")),
    Image("starting", Life(healthcheck=True, into="starting")),
    Image("gone", Life(), pull_error="manifest unknown: manifest unknown"),
    Image("denied", Life(), pull_error="unauthorized: authentication required"),
)
BY_TAG = {image.tag: image for image in (*GOOD, *BROKEN)}
BY_NAME = {
    name: image for image in BY_TAG.values() for name in (image.reference, image.id, f"{REPOSITORY}@{image.digest}")
}
