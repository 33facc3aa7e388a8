"""One pull for all deployments of a host that want the same image with the same credential."""

from tasks.deploy import outcome
from tasks.deploy.machine import Wait, check_bounds
from tasks.pull import fetch
from worker.engine import Image, Pulled, PullProgress, engine
from worker.errors import DeadlineExceeded, DeploymentCancelled, DeploymentError
from worker.record import Claim
from worker.reference import ImageReference
from worker.store import Brought, Credential, Led, pulled_images, pulls

_LOOKS = 20
"""How many of those that wait look a second, at most, at how far the pull is, and whether anybody is at it still."""
_LONGEST_WAIT = 10.0


def share(claim: Claim, reference: ImageReference, credential: Credential | None) -> Pulled | Image | Wait:
    """Pull an image, or take what another deployment's pull has brought, or wait for that without a thread.

    Raises what `fetch` raises, in the deployment that pulls as in those that wait for it.
    """
    # Neither a digest nor whatever the engine has can be out of date.
    moves = not reference.digest and claim.spec.policy == "always"
    shared = pulls().join(claim, reference, credential, moves=moves)
    if isinstance(shared, Brought):
        image = engine().images.find(reference.pinned(shared.digest))
        if image:
            return _taken(reference, shared, image)
        shared = pulls().join(claim, reference, credential, moves=moves, anew=True)
    if isinstance(shared, Led):
        outcome.follow_progress(claim, shared.by)
        return Wait(min(max(1.0, shared.waiting / _LOOKS), _LONGEST_WAIT, claim.time_left))
    return _led(claim, reference, credential)


def _taken(reference: ImageReference, shared: Brought, image: Image) -> Image:
    if shared.downloaded:
        # Who pulled it may have ended before it came to that.
        pulled_images().note_pulled(image.id, reference.names_of(shared.digest))
    return image


def _led(claim: Claim, reference: ImageReference, credential: Credential | None) -> Pulled:
    say = outcome.pull_progress(claim)

    def on_progress(progress: PullProgress) -> None:
        check_bounds(claim)
        say(progress)

    came_of_it: Brought | DeploymentError | None = None
    try:
        pulled = fetch(
            reference, credential, patience=claim.time_left, on_progress=on_progress, interrupt=claim.interrupt
        )
        came_of_it = Brought(pulled.digest, pulled.downloaded)
    except DeploymentError as error:
        came_of_it = error if _is_everybodys(claim, error) else None
        raise
    finally:
        pulls().settle(claim, reference, credential, came_of_it)
    return pulled


def _is_everybodys(claim: Claim, error: DeploymentError) -> bool:
    """Whether it is about the image, and not about the one deployment: the others have deadlines of their own."""
    return claim.time_left > 0 and not isinstance(error, DeadlineExceeded | DeploymentCancelled)
