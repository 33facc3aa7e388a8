"""`docker.stop`: stop a managed container (R5)."""

from typing import Annotated

from pydantic import Field

from tasks.base import Result, operation
from worker.celery import Lane
from worker.engine import engine
from worker.settings import settings
from worker.spec import Arguments, ContainerReference

StopTimeout = Annotated[int, Field(ge=0, le=3600)]


class StopArguments(Arguments):
    container: ContainerReference
    timeout: StopTimeout | None = None


class StopResult(Result):
    container_id: str
    container_name: str
    exit_code: int


@operation("docker.stop", Lane.WORK)
def stop(arguments: StopArguments) -> StopResult:
    """Stop a container, by force after `timeout` seconds; a second run finds it stopped."""
    containers = engine().containers
    found = containers.managed(arguments.container)
    stopped = containers.stop(found, stop_timeout(arguments.timeout))
    return StopResult(container_id=stopped.id, container_name=stopped.name, exit_code=stopped.exit_code)


def stop_timeout(asked: int | None) -> int:
    return settings().stop_timeout if asked is None else asked
