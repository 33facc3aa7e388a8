"""What the cut-over hook is told: where a stage's requests are to go from now on, and why."""

from worker import webhook
from worker.engine import Container, engine
from worker.interrupt import Interrupt
from worker.labels import Label
from worker.results import Instance
from worker.settings import settings
from worker.spec import Cutover


def cut_over(hook: Cutover, instance: Instance, reason: str, interrupt: Interrupt | None = None) -> None:
    """Have requests go to an instance; a second run says the same again.

    `reason` is `deployed`; `reverted`, where the new version failed after all and this is the old one; or
    `ports-changed`, where the engine has given it others.

    Raises CutoverFailed; Interrupted.
    """
    about = f"Cutting {instance.project}/{instance.stage} over to image {instance.image}"
    webhook.post(hook, _told("cutover", reason, instance), about=about, interrupt=interrupt)


def say_retired(hook: Cutover, instance: Instance) -> None:
    """Tell that what the instance has replaced is gone.

    Raises CutoverFailed.
    """
    about = f"Telling that {instance.container_name} has replaced older containers"
    webhook.post(hook, _told("retired", "deployed", instance), about=about)


def instance_of(container: Container) -> Instance:
    """A deployment's result, as far as its container tells it."""
    labels = engine().containers.labels
    return Instance(
        deployment_id=labels.deployment_of(container),
        project=labels.value_of(container, Label.PROJECT),
        stage=labels.value_of(container, Label.STAGE),
        instance_id=labels.value_of(container, Label.INSTANCE),
        host=settings().host,
        container_id=container.id,
        container_name=container.name,
        image=labels.value_of(container, Label.IMAGE),
        image_id=container.image_id,
        digest=labels.value_of(container, Label.DIGEST) or None,
        network=next((each for each in container.aliases if each != settings().network), settings().network),
        ports=dict(container.ports),
        health=container.health or container.state,
        state="live",
    )


def _told(event: str, reason: str, instance: Instance) -> dict[str, object]:
    # What a container doesn't tell is left out, not told as if there were none of it.
    return {"event": event, "reason": reason, **instance.model_dump(exclude_unset=True)}
