"""What a container keeps sealed in its labels: the arguments of its deployment, and the version that was live before.

Whoever can make containers can write labels: only what was sealed here, for this very container, is believed.
"""

from pydantic import ValidationError

from worker import plan
from worker.engine import Listed, engine
from worker.errors import CredentialMissing
from worker.keyring import keyring
from worker.labels import Label
from worker.record import Version
from worker.spec import ACCEPTED, DeploymentSpec


def kept_spec(container: Listed) -> DeploymentSpec:
    """The arguments of the deployment that made a container.

    Raises CredentialMissing, pydantic's ValidationError.
    """
    text = keyring().open(_label(container, Label.SPEC), plan.spec_purpose(*_stage(container)))
    return DeploymentSpec.model_validate_json(text, extra="ignore", context=ACCEPTED)


def kept_previous(container: Listed) -> Version | None:
    """The version that was live before a container, if there was one.

    Raises CredentialMissing, pydantic's ValidationError.
    """
    sealed = _label(container, Label.PREVIOUS)
    if not sealed:
        return None
    text = keyring().open(sealed, plan.previous_purpose(*_stage(container)))
    return Version.model_validate_json(text, extra="ignore", context=ACCEPTED)


def needs_older_key(container: Listed) -> bool:
    """Whether what a container's labels keep sealed, the secrets in it too, takes another key than the first to open.

    A live container's labels can't be changed: so it is until its stage is deployed to again.
    """
    sealed = [text for each in (Label.SPEC, Label.PREVIOUS) if (text := _label(container, each))]
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


def _stage(container: Listed) -> tuple[str, str, str]:
    labels = engine().containers.labels
    project, stage = (labels.get(container.labels, each) for each in (Label.PROJECT, Label.STAGE))
    return project, stage, labels.deployment_of(container)


def _label(container: Listed, label: Label) -> str:
    return engine().containers.labels.get(container.labels, label)
