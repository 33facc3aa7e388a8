"""`docker.stop`: stop a managed container (R5)."""

from tasks.base import Result, operation
from tasks.managed import managed
from worker.celery import Lane
from worker.engine import Container, Listed, engine
from worker.settings import settings
from worker.spec import ContainerArguments, StopTimeout


class StopArguments(ContainerArguments):
    timeout: StopTimeout | None = None


class StopResult(Result):
    container_id: str
    container_name: str
    exit_code: int


@operation("docker.stop", Lane.WORK)
def stop(arguments: StopArguments) -> StopResult:
    """Stop a container, by force after `timeout` seconds; a second run finds it stopped."""
    containers = engine().containers
    found = managed(arguments.container)
    containers.stop(found, stop_timeout(found, arguments.timeout))
    stopped = containers.inspect(found.id)
    return StopResult(container_id=stopped.id, container_name=stopped.name, exit_code=stopped.exit_code)


def halt(container: Listed) -> None:
    """Stop a container as it asked for, by its own signal and within its own time."""
    containers = engine().containers
    containers.stop(container, stop_timeout(containers.inspect(container.id)))


def stop_timeout(container: Container, asked: int | None = None) -> int:
    """Seconds that a container may take to stop: those asked for, its own, or else the setting's."""
    if asked is not None:
        return asked
    return settings().stop_timeout if container.stop_timeout is None else container.stop_timeout
