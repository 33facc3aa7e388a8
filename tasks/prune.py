"""`docker.prune`: remove the images, and the containers, that ended deployments have left.

An image goes only if docker-watcher pulled it itself, under each name that it has, and deployments used it; if no
container and no other image hangs on it; and if neither a deployment under way nor one of the last versions of a stage
needs it.
"""

from collections.abc import Collection, Iterator
from typing import Annotated

import structlog
from pydantic import Field

from tasks.base import Result, operation
from tasks.reconcile import leftovers, remove_leftovers
from worker import plan
from worker.celery import Lane
from worker.engine import ListedImage, engine
from worker.settings import settings
from worker.signature import ALL_STAGES, check_stage
from worker.spec import Arguments
from worker.store import KnownImages, deployments, pulled_images

log = structlog.get_logger()


class PruneArguments(Arguments):
    keep: Annotated[int, Field(ge=2, le=1000)] | None = None
    """`DW_PRUNE_KEEP` unless given."""
    dry_run: bool = False
    """Say what would go, and leave it."""


class PrunedImage(Result):
    name: str
    id: str
    size: int
    """Bytes, as the engine counts them: also of layers that other images have, and that stay with those."""


class PruneResult(Result):
    host: str
    dry_run: bool
    images: list[PrunedImage]
    containers: list[str]
    """Names of containers whose deployment had ended without them."""
    bytes_freed: int
    """The images' sizes together, and so the most that it can be."""


@operation("docker.prune", Lane.WORK)
def prune(arguments: PruneArguments) -> PruneResult:
    """Remove what isn't needed any more; a second run, also at the same time, finds less of it or nothing."""
    check_stage(ALL_STAGES)
    keep = arguments.keep or settings().prune_keep
    return clear_away(keep=keep, age=settings().prune_age, dry_run=arguments.dry_run)


def clear_away(*, keep: int, age: float, dry_run: bool = False) -> PruneResult:
    """Remove what only ended deployments have used, but for each stage's last `keep` versions that were live.

    `age` is for how many seconds at least no deployment has pulled an image or found it there.

    Raises EngineUnavailable.
    """
    known = pulled_images().known()
    everybodys = engine().containers.labelled({})
    ours = [each for each in everybodys if engine().containers.labels.are_ours(each.labels)]
    left = list(leftovers(ours))
    containers = [each.name for each in left] if dry_run else remove_leftovers(left)[0]
    in_use = {each.image_id for each in everybodys if each not in left}
    present = engine().images.list()
    unneeded = _unneeded(known, present, in_use, keep, age)
    gone = [each for each in unneeded if dry_run or engine().images.remove(each)]
    if not dry_run:
        for each in known.images.keys() - ({each.id for each in present} - {each.id for each in gone}):
            pulled_images().forget(each, known)
    result = PruneResult(
        host=settings().host,
        dry_run=dry_run,
        images=[PrunedImage(name=_called(each, known), id=each.id, size=each.size) for each in gone],
        containers=containers,
        bytes_freed=sum(each.size for each in gone),
    )
    log.info("pruned", **result.model_dump())
    return result


def _called(image: ListedImage, known: KnownImages) -> str:
    """What people know an image by; one that another prune has taken the names from, by that of its pull."""
    if image.tags or image.digests:
        return image.name
    return min(known.images[image.id].names, key=lambda name: ("@" in name, name))


def _unneeded(
    known: KnownImages, present: Collection[ListedImage], in_use: Collection[str], keep: int, age: float
) -> Iterator[ListedImage]:
    parents = {each.parent for each in present}
    for image in present:
        mine = known.images.get(image.id)
        is_old = mine is not None and mine.used is not None and known.at - mine.used >= age
        if mine and is_old and image.id not in {*in_use, *parents} and plan.is_ours_alone(image, mine.names):
            # Asked for each anew, right before it goes: what is deployed meanwhile may need it.
            needed = deployments().needed_images(keep)
            if image.id not in needed.ids and not needed.names & {*image.tags, *image.digests}:
                yield image
