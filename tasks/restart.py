"""`docker.restart`: stop and start a managed container (R6)."""

from tasks.base import operation
from tasks.evidence import check_command_ran, with_evidence
from tasks.managed import managed
from tasks.start import StartResult, started
from tasks.stop import StopArguments, stop_timeout
from worker.celery import Lane
from worker.engine import engine


@operation("docker.restart", Lane.WORK)
def restart(arguments: StopArguments) -> StartResult:
    """Restart a container and say which host ports it has now; a second run restarts it again."""
    found = managed(arguments.container)
    with with_evidence(found):
        container = engine().containers.restart(found, stop_timeout(found, arguments.timeout))
    check_command_ran(container)
    return started(container)
