"""`docker.start`: start a managed container (R5)."""

from tasks.base import Result, operation
from worker.engine import engine
from worker.spec import Arguments, ContainerReference


class StartArguments(Arguments):
    container: ContainerReference


class StartResult(Result):
    container_id: str
    container_name: str
    ports: dict[str, int]
    started_at: str


@operation("docker.start")
def start(arguments: StartArguments) -> StartResult:
    """Start a container and say which host ports it has; a second run finds it running."""
    containers = engine().containers
    started = containers.start(containers.managed(arguments.container))
    return StartResult(
        container_id=started.id,
        container_name=started.name,
        ports=dict(started.ports),
        started_at=started.started_at,
    )
