"""`docker.restart`: stop and start a managed container (R6)."""

from tasks.base import operation
from tasks.evidence import check_command_ran, with_evidence
from tasks.managed import managed
from tasks.start import StartResult
from tasks.stop import StopArguments, stop_timeout
from worker.celery import Lane
from worker.engine import engine


@operation("docker.restart", Lane.WORK)
def restart(arguments: StopArguments) -> StartResult:
    """Restart a container and say which host ports it has now; a second run restarts it again."""
    containers = engine().containers
    found = managed(arguments.container)
    with with_evidence(containers, found):
        restarted = containers.restart(found, stop_timeout(found, arguments.timeout))
    check_command_ran(containers, restarted)
    return StartResult(
        container_id=restarted.id,
        container_name=restarted.name,
        ports=dict(restarted.ports),
        started_at=restarted.started_at,
    )
