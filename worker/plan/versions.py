"""Which versions are the same, and which one to go back to."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from worker.engine import Listed
from worker.errors import SpecInvalid
from worker.keyring import Keyring
from worker.labels import Label, Labels
from worker.record import Version
from worker.reference import ImageReference
from worker.spec import DeploymentSpec, RollbackArguments

_MOST_NAMED = 5

_NOT_IN_CONTAINER = {
    "image",
    "credential",
    "policy",
    "host",
    "strategy",
    "keep",
    "timeout",
    "health",
    "force",
    "secret_env",
}


def fingerprints(
    keyring: Keyring, spec: DeploymentSpec, image_id: str, network: str, secrets: Mapping[str, str]
) -> tuple[str, ...]:
    """What is the same for the same image and arguments, as far as they reach the container; under each key.

    `secrets` has the values of `secret_env`: sealed anew, the same value is no change. The first fingerprint is the
    one to write; another one fits a container of before the keys were rotated.
    """
    # Without defaults, so that an argument which only a later version knows leaves what runs unchanged. Left out or
    # given, a default means the same; where a version changes one, it reaches a container with the next real change.
    asked = spec.model_dump(mode="json", exclude=_NOT_IN_CONTAINER, exclude_defaults=True)
    return keyring.fingerprints(json.dumps([image_id, network, asked, dict(secrets)], sort_keys=True))


def live_twin(labels: Labels, older: Sequence[Listed], marks: Collection[str]) -> Listed | None:
    """The newest instance that runs, if it was made of the same image with the same arguments."""
    newest = next((each for each in older if each.state == "running"), None)
    return newest if newest and labels.value_of(newest, Label.FINGERPRINT) in marks else None


def rollback_target(asked: RollbackArguments, lives: Sequence[Version], present: Version | None) -> Version:
    """The version to go back to: the one asked for, or else the newest of `lives` that isn't the same as the present.

    Raises SpecInvalid where there is none.
    """
    if asked.to is not None:
        found = next((each for each in lives if each.deployment_id == asked.to), None)
        field, known = "to", ", ".join(each.deployment_id for each in lives[:_MOST_NAMED]) or "none"
        reason = f"no deployment {asked.to} that was live in {asked.where} is remembered; the last that were: {known}"
    else:
        found = next((each for each in lives if present is None or not _is_same(each, present)), None)
        field, reason = "stage", f"no version that was live in {asked.where} before is remembered"
    if found is None:
        raise SpecInvalid(
            f"There is nothing to go back to: {reason}; deploy the image that is wanted.",
            {"step": "accept", "fields": {field: reason}},
        )
    return found


def rollback_arguments(version: Version) -> dict[str, object]:
    """The arguments of `docker.deploy` for the same version again, by its digest, wherever its tag points by now.

    Less `force`: who goes back to what is live already wants no new container; and less `host`: it is wanted where the
    stage is by now.
    """
    reference = ImageReference.parse(version.spec.image)
    image = replace(reference, digest=version.digest or reference.digest)
    asked = version.spec.model_dump(exclude_defaults=True, exclude={"force", "host"})
    return {**asked, "image": str(image), "policy": "missing"}


def _is_same(version: Version, other: Version) -> bool:
    asked, other_asked = (each.spec.model_dump(exclude=_NOT_IN_CONTAINER - {"secret_env"}) for each in (version, other))
    return (version.image_id, asked) == (other.image_id, other_asked)
