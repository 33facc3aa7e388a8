"""`docker.remove`: remove a managed container (R5)."""

from tasks.base import Result, operation
from tasks.managed import managed
from worker.celery import Lane
from worker.engine import engine
from worker.errors import ContainerNotFound
from worker.spec import ContainerArguments


class RemoveArguments(ContainerArguments):
    force: bool = False


class RemoveResult(Result):
    container: str
    removed: bool


@operation("docker.remove", Lane.WORK)
def remove(arguments: RemoveArguments) -> RemoveResult:
    """Remove a container and its anonymous volumes, a running one only by force; a second run finds it gone."""
    containers = engine().containers
    try:
        found = managed(arguments.container)
    except ContainerNotFound:
        return RemoveResult(container=arguments.container, removed=False)
    return RemoveResult(container=arguments.container, removed=containers.remove(found, force=arguments.force))
