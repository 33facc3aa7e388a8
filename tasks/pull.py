"""`docker.pull`: fetch an image from its registry (R2)."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import current_task
from celery.exceptions import Reject

from tasks.base import Result, operation
from tasks.prune import clear_away
from worker import metrics
from worker.celery import Lane
from worker.engine import Image, Login, Pulled, PullProgress, engine
from worker.errors import DeadlineExceeded, DeploymentCancelled, DiskFull, PullDenied
from worker.interrupt import Interrupt, Interrupted, interruptible
from worker.keyring import keyring
from worker.policy import policy
from worker.reference import ImageReference
from worker.settings import Name, settings
from worker.spec import Arguments, PullPolicy
from worker.spec import Image as ImageName
from worker.store import Credential, credentials, pulled_images


class PullArguments(Arguments):
    image: ImageName
    credential: Name | None = None
    policy: PullPolicy = "always"


class PullResult(Result):
    image: str
    image_id: str
    digest: str | None
    size: int
    pulled: bool


@operation("docker.pull", Lane.PULLS)
def pull(arguments: PullArguments) -> PullResult:
    """Pull an image; a second run finds it there, and asks the registry again under policy `always`.

    Raises DeploymentCancelled where its task is revoked, DeadlineExceeded after `DW_DEPLOY_TIMEOUT`: a registry can go
    on sending for ever.
    """
    reference, seconds = ImageReference.parse(arguments.image), settings().deploy_timeout
    gives_up_at = time.monotonic() + seconds

    def check_time(_: PullProgress) -> None:
        if time.monotonic() > gives_up_at:
            raise DeadlineExceeded(
                f"Pulling image {reference} failed: it has not ended within {seconds:g} s; raise DW_DEPLOY_TIMEOUT, or "
                "see what took so long.",
                {"step": "pull", "image": str(reference)},
            )

    image, downloaded = at_hand(reference, arguments.policy), False
    if image is None:
        credential = credentials().resolve(reference.registry, arguments.credential)
        with interruptible.running(str(current_task.request.id)) as interrupt:
            try:
                fetched = fetch(reference, credential, patience=seconds, on_progress=check_time, interrupt=interrupt)
            except Interrupted:
                if interruptible.is_ending:
                    raise Reject(requeue=True) from None
                raise DeploymentCancelled(
                    f"Pulling image {reference} was cancelled; pull it again when it is wanted.",
                    {"step": "pull", "image": str(reference)},
                ) from None
        image = engine().images.inspect(reference.pinned(fetched.digest), called=str(reference))
        downloaded = fetched.downloaded
    if downloaded:
        pulled_images().note_pulled(image.id, reference.names_of(image.digest))
    pulled_images().note_asked_for(image.id)
    return PullResult(
        image=str(reference),
        image_id=image.id,
        digest=image.digest,
        size=image.size,
        pulled=downloaded,
    )


def at_hand(reference: ImageReference, pull_policy: PullPolicy) -> Image | None:
    """The image, where the engine has it and policy `missing` asks no further.

    Raises PolicyDenied, EngineUnavailable.
    """
    policy().check_image(reference)
    return engine().images.find(str(reference)) if pull_policy == "missing" else None


def fetch(
    reference: ImageReference,
    credential: Credential | None,
    *,
    patience: float = math.inf,
    on_progress: Callable[[PullProgress], None] | None = None,
    interrupt: Interrupt | None = None,
) -> Pulled:
    """Bring an image to the engine. For a full disk, room is made and the pull tried again, once.

    `patience` is how many seconds the engine may be silent, where that is less than the stall timeout.
    The password is opened here, handed to the engine with this call, and kept nowhere.

    Raises CredentialMissing, and what `Images.pull` raises.
    """
    reached = PullProgress()

    def listen(progress: PullProgress) -> None:
        nonlocal reached
        reached = progress
        if on_progress:
            on_progress(progress)

    pull_once = partial(
        _counted,
        engine().images.pull,
        reference,
        login=Login(credential.username, credential.password(keyring())) if credential else None,
        stall_timeout=min(settings().pull_stall_timeout, patience),
        on_progress=listen,
        interrupt=interrupt,
    )
    try:
        return pull_once()
    except PullDenied as error:
        raise error.with_facts(credential=credential.name if credential else None) from error
    except DiskFull:
        freed = clear_away(keep=settings().prune_keep, age=0).bytes_freed
    try:
        return pull_once()
    except DiskFull as error:
        raise _no_room(reference, reached, freed) from error


def _counted(
    pull: Callable[..., Pulled], *arguments: Any, on_progress: Callable[[PullProgress], None], **named: Any
) -> Pulled:
    """Pull, and have metrics know what came of it."""
    result, size = "failed", 0

    def listen(progress: PullProgress) -> None:
        nonlocal size
        size = progress.current
        on_progress(progress)

    try:
        pulled = pull(*arguments, on_progress=listen, **named)
        result = "downloaded" if pulled.downloaded else "present"
    finally:
        metrics.pull_ended(result, size)
    return pulled


def _no_room(reference: ImageReference, reached: PullProgress, freed: int) -> DiskFull:
    present = engine().images.list()
    parents = {each.parent for each in present}
    # One that others were built on counts with these. Layers that several have are counted for each: engines tell no
    # better without a look at every volume.
    taken = sum(each.size for each in present if each.id not in parents)
    return DiskFull(
        f"Pulling image {reference} failed: the engine's disk is full after {reached.current / 1e6:.1f} of "
        f"{reached.total / 1e6:.1f} MB, its images take up to {taken / 1e6:.1f} MB, and removing old ones has freed "
        f"up to {freed / 1e6:.1f} MB; free disk space on the engine's host.",
        {
            "step": "pull",
            "image": str(reference),
            "current": reached.current,
            "total": reached.total,
            "images": taken,
            "freed": freed,
        },
    )
