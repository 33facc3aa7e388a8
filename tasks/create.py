"""`docker.create`: make a container with all that a deployment asks for, and don't start it (R4, R10-R13)."""

from collections.abc import Sequence

from celery import current_task

from tasks.base import Result, operation
from tasks.ensure_network import EnsureNetworkArguments, ensure_network
from worker import plan
from worker.engine import ContainerRef, engine
from worker.keyring import keyring
from worker.labels import container_name
from worker.reference import ImageReference
from worker.settings import settings
from worker.spec import DeploymentSpec, check_policy


class CreateResult(Result):
    container_id: str
    name: str
    project: str
    stage: str
    instance_id: str
    image: str
    image_id: str


@operation("docker.create")
def create(arguments: DeploymentSpec) -> CreateResult:
    """Create a container of an image that the engine has; a second run of the same message finds it."""
    spec, task_id = arguments, str(current_task.request.id)
    reference = ImageReference.parse(spec.image)
    check_policy(reference)
    image = engine().images.inspect(str(reference))
    name = container_name(settings().name_prefix, spec.project, spec.stage, reference)
    made = make(
        spec,
        task_id,
        image_id=image.id,
        digest=image.digest,
        exposed=image.ports,
        name=name,
        aliases=spec.aliases,
    )
    return CreateResult(
        container_id=made.id,
        name=made.name,
        project=spec.project,
        stage=spec.stage,
        instance_id=spec.instance_id or task_id,
        image=str(reference),
        image_id=image.id,
    )


def make(
    spec: DeploymentSpec,
    deployment_id: str,
    *,
    image_id: str,
    digest: str | None,
    exposed: Sequence[str],
    name: str,
    aliases: Sequence[str],
    mark: str = "",
) -> ContainerRef:
    """Create a deployment's container, or find the one that it has made.

    Raises CredentialMissing, and what `Containers.create` raises.
    """
    containers = engine().containers
    if made := containers.labelled(containers.labels.select(deployment=deployment_id)):
        return ContainerRef(made[0].id, made[0].name)
    network = settings().network
    ensure_network(EnsureNetworkArguments(network=network))
    made_id = containers.create(
        plan.container_spec(
            spec,
            name=name,
            image_id=image_id,
            exposed=exposed,
            network=network,
            aliases=aliases,
            labels=plan.labels_for(containers.labels, spec, deployment_id, digest, mark),
            secrets=open_secrets(spec),
        )
    )
    return ContainerRef(made_id, name)


def open_secrets(spec: DeploymentSpec) -> dict[str, str]:
    """The values of `secret_env`, for the engine's ears only.

    Raises CredentialMissing where one was not sealed for this stage and name, or no key opens it.
    """
    return {name: keyring().open(sealed, plan.secret_purpose(spec, name)) for name, sealed in spec.secret_env.items()}
