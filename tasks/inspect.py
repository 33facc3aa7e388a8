"""`docker.inspect`: what an image on the engine says of itself (R3)."""

from typing import Any

from tasks.base import Result, operation
from worker.engine import engine
from worker.policy import policy
from worker.reference import ImageReference
from worker.secrecy import masked
from worker.spec import Arguments, Image


class InspectArguments(Arguments):
    image: Image


class InspectResult(Result):
    image: str
    image_id: str
    digest: str | None
    ports: list[str]
    healthcheck: dict[str, Any] | None
    labels: dict[str, str]


@operation("docker.inspect")
def inspect(arguments: InspectArguments) -> InspectResult:
    """Read an image; a second run reads it again."""
    reference = ImageReference.parse(arguments.image)
    policy().check_image(reference)
    image = engine().images.inspect(str(reference))
    return InspectResult(
        image=str(reference),
        image_id=image.id,
        digest=image.digest,
        ports=list(image.ports),
        healthcheck=masked(image.healthcheck) if image.healthcheck else None,
        labels=masked(image.labels),
    )
