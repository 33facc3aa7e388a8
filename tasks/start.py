"""`docker.start`: start a managed container (R5)."""

from tasks.base import Result, operation
from tasks.evidence import check_command_ran, with_evidence
from tasks.managed import managed
from worker.celery import Lane
from worker.engine import Container, engine
from worker.spec import ContainerArguments


class StartResult(Result):
    container_id: str
    container_name: str
    ports: dict[str, int]
    started_at: str


@operation("docker.start", Lane.WORK)
def start(arguments: ContainerArguments) -> StartResult:
    """Start a container and say which host ports it has; a second run finds it running."""
    found = managed(arguments.container)
    with with_evidence(found):
        container = engine().containers.start(found)
    check_command_ran(container)
    return started(container)


def started(container: Container) -> StartResult:
    """What is told of a container that was started."""
    return StartResult(
        container_id=container.id,
        container_name=container.name,
        ports=dict(container.ports),
        started_at=container.started_at,
    )
