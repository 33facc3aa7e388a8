"""`docker.logs`: what a managed container wrote last."""

from typing import Annotated

from pydantic import Field

from tasks.base import Result, operation
from tasks.managed import managed
from worker.engine import engine
from worker.spec import ContainerArguments


class LogsArguments(ContainerArguments):
    tail: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Lines."""


class LogsResult(Result):
    container_id: str
    container_name: str
    lines: list[str]


@operation("docker.logs")
def logs(arguments: LogsArguments) -> LogsResult:
    """Read the last lines of a container's output; a second run reads them again."""
    containers = engine().containers
    found = managed(arguments.container)
    return LogsResult(container_id=found.id, container_name=found.name, lines=containers.logs(found, arguments.tail))
