"""Which deployments of a host share the pull of an image: one of them leads, and the others wait for what comes of it.

Who was asked for when the lead had begun its pull already may not take what that brings, as its tag can have been moved
in between. All who come too late wait for the next pull, which one of them leads for all: where nothing has moved, the
engine asks the registry for no more than the tag's digest.
"""

import hashlib
from dataclasses import dataclass

import redis

from worker.errors import DeploymentError
from worker.record import Claim
from worker.reference import ImageReference
from worker.store.credentials import Credential
from worker.store.scripts import scripts

_LONGEST = 86_400
"""Seconds that a pull which nobody ends is remembered: no deployment has longer."""
_REMEMBERED = 60
"""Seconds that those have who wait to take what came of it; later they pull for themselves."""


@dataclass(frozen=True)
class Brought:
    """What the pull of another deployment has brought."""

    digest: str
    downloaded: bool


@dataclass(frozen=True)
class Led:
    """Another deployment is at it."""

    by: str
    """Its id."""
    waiting: int
    """How many wait for it."""


class Pulls:
    """The pulls of one host.

    All raise `redis.RedisError` where Redis can't be had. Keys, of which the last part says image and credential:

    - `pull:<host>:<what>` (hash): who leads, since when, and what came of the last one
    - `pullers:<host>:<what>` (set): the ids of the deployments that wait
    """

    def __init__(self, connection: redis.Redis, prefix: str, host: str) -> None:
        self._prefix = prefix
        self._host = host
        self._scripts = scripts(connection)

    def join(
        self, claim: Claim, reference: ImageReference, credential: Credential | None, *, moves: bool, anew: bool = False
    ) -> Brought | Led | None:
        """Share the pull of an image with the deployments that use the very same credential; None: this one leads.

        Where the image's name `moves`, nothing is taken that was begun before the deployment was asked for. `anew` is
        for who finds that what was brought is gone already. Who leads must `settle`; one that is lost leads until its
        lease is over.

        Raises the error of the pull that would have been this one's too.
        """
        answer, *told = self._scripts["join"](
            keys=[*self._keys(reference, credential), f"{self._prefix}deployment:{claim.id}"],
            args=[self._prefix, claim.id, claim.fence, _LONGEST, int(not moves), int(anew)],
        )
        if answer == "failed":
            raise DeploymentError.from_json(told[0])
        if answer == "brought":
            return Brought(told[0], told[1] == "1")
        return Led(told[0], int(told[1])) if answer == "led" else None

    def settle(
        self,
        claim: Claim,
        reference: ImageReference,
        credential: Credential | None,
        outcome: Brought | DeploymentError | None,
    ) -> None:
        """End the lead, and have those that wait take what came of it; None: then the next one of them leads."""
        brought = outcome if isinstance(outcome, Brought) else None
        self._scripts["settle"](
            keys=self._keys(reference, credential),
            args=[
                self._prefix,
                claim.id,
                claim.fence,
                _REMEMBERED,
                brought.digest if brought else "",
                int(brought.downloaded) if brought else "",
                outcome.to_json() if isinstance(outcome, DeploymentError) else "",
            ],
        )

    def _keys(self, reference: ImageReference, credential: Credential | None) -> list[str]:
        # With its sealed password: one that was stored anew need not have the rights of the one before.
        used = f"{credential.name}\n{credential.username}\n{credential.sealed}" if credential else ""
        what = hashlib.sha256(f"{reference}\n{used}".encode()).hexdigest()
        return [f"{self._prefix}{kind}:{self._host}:{what}" for kind in ("pull", "pullers")]
