"""What the cut-over hook is told: where a stage's requests are to go from now on, and why."""

from collections.abc import Mapping

from worker import webhook
from worker.engine import Container, engine
from worker.interrupt import Interrupt
from worker.labels import Label
from worker.settings import settings
from worker.spec import Cutover


def cut_over(hook: Cutover, instance: Mapping[str, object], reason: str, interrupt: Interrupt | None = None) -> None:
    """Have requests go to an instance; a second run says the same again.

    `reason` is `deployed`; `reverted`, where the new version failed after all and this is the old one; or
    `ports-changed`, where the engine has given it others.

    Raises CutoverFailed; Interrupted.
    """
    where = f"{instance['project']}/{instance['stage']}"
    told = {"event": "cutover", "reason": reason, **instance}
    webhook.post(hook, told, about=f"Cutting {where} over to image {instance['image']}", interrupt=interrupt)


def say_retired(hook: Cutover, instance: Mapping[str, object]) -> None:
    """Tell that what the instance has replaced is gone.

    Raises CutoverFailed.
    """
    told = {"event": "retired", "reason": "deployed", **instance}
    webhook.post(hook, told, about=f"Telling that {instance['container_name']} has replaced older containers")


def instance_of(container: Container) -> dict[str, object]:
    """A deployment's result, as far as its container tells it."""
    labels = engine().containers.labels
    return {
        "deployment_id": labels.deployment_of(container),
        "project": labels.get(container.labels, Label.PROJECT),
        "stage": labels.get(container.labels, Label.STAGE),
        "instance_id": labels.get(container.labels, Label.INSTANCE),
        "host": settings().host,
        "container_id": container.id,
        "container_name": container.name,
        "image": labels.get(container.labels, Label.IMAGE),
        "image_id": container.image_id,
        "digest": labels.get(container.labels, Label.DIGEST) or None,
        "network": next((each for each in container.aliases if each != settings().network), settings().network),
        "ports": dict(container.ports),
        "health": container.health or container.state,
        "state": "live",
    }
