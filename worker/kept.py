"""What a container keeps sealed in its labels: the arguments of its deployment, and the version that was live before.

Whoever can make containers can write labels: only what was sealed here, for this very container, is believed.
"""

from pydantic import ValidationError

from worker.engine import Listed, engine
from worker.errors import CredentialMissing
from worker.keyring import keyring
from worker.labels import Label
from worker.record import Version
from worker.spec import ACCEPTED, DeploymentSpec

_PURPOSES = {Label.SPEC: "arguments of deployment {} of {}", Label.PREVIOUS: "version before deployment {} of {}"}
"""What each of them is sealed for: no other container can have it."""


def kept_labels(spec: DeploymentSpec, deployment_id: str, previous: Version | None) -> dict[Label, str]:
    """What the container of a deployment is to keep, sealed: many programs read labels.

    Raises CredentialMissing where there is no key.
    """
    asked = spec.model_dump_json(exclude_defaults=True)
    before = previous.model_dump_json(exclude_defaults=True) if previous else ""
    return {
        Label.SPEC: keyring().seal(asked, _purpose(Label.SPEC, deployment_id, spec.where)),
        Label.PREVIOUS: before and keyring().seal(before, _purpose(Label.PREVIOUS, deployment_id, spec.where)),
    }


def kept_spec(container: Listed) -> DeploymentSpec:
    """The arguments of the deployment that made a container.

    Raises CredentialMissing, pydantic's ValidationError.
    """
    return DeploymentSpec.model_validate_json(_opened(container, Label.SPEC), extra="ignore", context=ACCEPTED)


def kept_previous(container: Listed) -> Version | None:
    """The version that was live before a container, if there was one.

    Raises CredentialMissing, pydantic's ValidationError.
    """
    if not engine().containers.labels.value_of(container, Label.PREVIOUS):
        return None
    return Version.model_validate_json(_opened(container, Label.PREVIOUS), extra="ignore", context=ACCEPTED)


def needs_older_key(container: Listed) -> bool:
    """Whether what a container's labels keep sealed, the secrets in it too, takes another key than the first to open.

    A live container's labels can't be changed: so it is until its stage is deployed to again.
    """
    labels = engine().containers.labels
    sealed = [text for each in _PURPOSES if (text := labels.value_of(container, each))]
    if not sealed:
        return False
    if not keyring().has_keys or not all(keyring().is_current(each) for each in sealed):
        return True
    try:
        asked, previous = kept_spec(container), kept_previous(container)
    except (CredentialMissing, ValidationError):
        # Of what isn't this container's nothing is ever used.
        return False
    secrets = [*asked.secret_env.values(), *(previous.spec.secret_env.values() if previous else ())]
    return not all(keyring().is_current(each) for each in secrets)


def _opened(container: Listed, label: Label) -> str:
    labels = engine().containers.labels
    purpose = _purpose(label, labels.deployment_of(container), labels.stage_of(container))
    return keyring().open(labels.value_of(container, label), purpose)


def _purpose(label: Label, deployment_id: str, where: str) -> str:
    return _PURPOSES[label].format(deployment_id, where)
