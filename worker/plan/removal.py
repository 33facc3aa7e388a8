"""What may be removed."""

from collections.abc import Collection, Sequence

from worker.engine import Listed, ListedImage
from worker.errors import ContainerNotFound, SpecInvalid
from worker.plan.takeover import UP
from worker.reference import ImageReference
from worker.spec import StageOrder
from worker.store import Standing


def is_leftover(container: Listed, standing: Standing | None, *, deployed: bool, moved_at: float | None = None) -> bool:
    """Whether a container is of no use any more: its deployment has ended without it, or its stage lives elsewhere.

    `deployed` tells a deployment's container from one that `docker.create` made; `moved_at` is when the version was
    asked for that is live on another host, or the stage's removal there. Of a deployment that has no record, as after
    the loss of Redis, only what doesn't run goes, and what is older than that: nobody can tell what the rest is good
    for.
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
