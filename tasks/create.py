"""`docker.create`: make a container with all that a deployment asks for, and don't start it (R4, R10-R13)."""

import random
from collections.abc import Sequence
from dataclasses import replace

from celery import current_task

from tasks.base import Result, operation
from tasks.connect import check_aliases, lasting_address
from tasks.ensure_network import EnsureNetworkArguments, ensure_network
from worker import plan
from worker.celery import Lane
from worker.engine import ContainerRef, ContainerSpec, Listed, engine
from worker.errors import NameConflict
from worker.keyring import keyring, variable_purpose
from worker.labels import container_name
from worker.policy import policy
from worker.reference import ImageReference
from worker.settings import settings
from worker.signature import check_stage
from worker.spec import DeploymentSpec, StageArguments


class CreateResult(Result):
    container_id: str
    name: str
    project: str
    stage: str
    instance_id: str
    image: str
    image_id: str


@operation("docker.create", Lane.WORK)
def create(arguments: DeploymentSpec) -> CreateResult:
    """Create a container of an image that the engine has; a second run of the same message finds it."""
    spec, task_id = arguments, str(current_task.request.id)
    check_stage(spec.where)
    reference = ImageReference.parse(spec.image)
    policy().check(spec)
    image = engine().images.inspect(str(reference))
    container = asked_container(spec, task_id, image_id=image.id, digest=image.digest, exposed=image.ports)
    made = make(spec, container, task_id, instances_of(spec))
    return CreateResult(
        container_id=made.id,
        name=made.name,
        project=spec.project,
        stage=spec.stage,
        instance_id=spec.instance_id or task_id,
        image=str(reference),
        image_id=image.id,
    )


def wanted_name(spec: DeploymentSpec) -> str:
    """The deterministic name of a deployment's container (R11)."""
    return container_name(settings().name_prefix, spec.project, spec.stage, ImageReference.parse(spec.image))


def asked_container(
    spec: DeploymentSpec,
    deployment_id: str,
    *,
    image_id: str,
    digest: str | None,
    exposed: Sequence[str],
    tried: Sequence[int] = (),
) -> ContainerSpec:
    """The container that is asked for; `tried` are host ports out of `DW_PORT_RANGE` that it could not have.

    Raises PortInUse where none is left there.
    """
    return plan.container_spec(
        spec,
        deployment_id=deployment_id,
        labels=engine().containers.labels,
        name=wanted_name(spec),
        network=settings().network,
        image_id=image_id,
        digest=digest,
        ports=_host_ports(spec, exposed, tried),
        stop_timeout=settings().stop_timeout,
    )


def _host_ports(spec: DeploymentSpec, exposed: Sequence[str], tried: Sequence[int]) -> dict[str, int | None]:
    """The host ports that a container is made with; those to be kept are none that a container has, up or not."""
    if "keep" not in spec.ports.values():
        return plan.published_ports(spec, exposed)
    first, last = settings().port_range
    taken = engine().containers.host_ports()
    keepable = [port for port in range(first, last + 1) if port not in taken]
    # Two deployments at once seldom try the same one then.
    random.shuffle(keepable)
    return plan.published_ports(spec, exposed, keepable, tried)


def instances_of(stage: StageArguments) -> list[Listed]:
    """The containers of a stage, in every state, newest first."""
    containers = engine().containers
    return containers.labelled(containers.labels.select(project=stage.project, stage=stage.stage))


def make(
    spec: DeploymentSpec, container: ContainerSpec, deployment_id: str, instances: Sequence[Listed]
) -> ContainerRef:
    """Create a deployment's container with its secrets, or find the one that it has made among its stage's instances.

    Raises CredentialMissing, and what `Containers.create` raises.
    """
    if made := _made_by(deployment_id, instances):
        return made
    container = policy().bound(container)
    policy().check_container(spec.where, container, engine().containers.labels)
    ensure_network(EnsureNetworkArguments(network=container.network))
    check_aliases(spec.where, spec.aliases, [each for each in (container.network, spec.network) if each])
    container = replace(
        container,
        secrets=open_secrets(spec),
        address=lasting_address(container.network) if container.aliases else None,
    )
    try:
        return ContainerRef(engine().containers.create(container), container.name)
    except NameConflict:
        # It may be our own that has the name: an earlier call whose answer was lost, and that took its time.
        if made := _made_by(deployment_id, instances_of(spec)):
            return made
        holder = engine().containers.find_named(container.name)
        plan.check_holder(container.name, engine().containers.labels, spec, holder)
        raise


def _made_by(deployment_id: str, instances: Sequence[Listed]) -> ContainerRef | None:
    # By its stage too, as these are: who asks for something chooses the id.
    labels = engine().containers.labels
    made = [each for each in instances if labels.deployment_of(each) == deployment_id]
    return ContainerRef(made[0].id, made[0].name) if made else None


def open_secrets(spec: DeploymentSpec) -> dict[str, str]:
    """The values of `secret_env`, for the engine's ears only.

    Raises CredentialMissing where one was not sealed for this stage and name, or no key opens it.
    """
    return {
        name: keyring().open(sealed, variable_purpose(spec.project, spec.stage, name))
        for name, sealed in spec.secret_env.items()
    }
