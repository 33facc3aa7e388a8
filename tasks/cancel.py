"""`docker.cancel`: end a deployment, and remove what it has made (R16)."""

from tasks.base import Result, operation
from worker.celery import Lane
from worker.driver import send
from worker.errors import DeploymentCancelled, DeploymentSuperseded
from worker.signature import ALL_STAGES, check_stage
from worker.spec import Arguments, DeploymentId
from worker.store import Standing, deployments


class CancelArguments(Arguments):
    deployment_id: DeploymentId


class CancelResult(Result):
    deployment_id: str
    state: str
    """`cancelling` where it is being ended. Else what it is, and stays: `live`, `unchanged`, `done` (an order to its
    stage), `failed`, `cancelled`, `superseded`, `adopted`; or `unknown`, where no worker has taken its message yet:
    then it is cancelled once one does."""


@operation("docker.cancel")
def cancel(arguments: CancelArguments) -> CancelResult:
    """Have a deployment end as `DeploymentCancelled`; a second run finds it ending, or ended."""
    check_stage(deployments().stage_of(arguments.deployment_id) or ALL_STAGES)
    return CancelResult(deployment_id=arguments.deployment_id, state=end(arguments.deployment_id))


def end(deployment_id: str) -> str:
    """Have a deployment end if it still can, and say what becomes of it, as `CancelResult.state` has it.

    The step at work is broken off by the worker that does it, within half a second; where nobody is at it, the step
    is sent, and finds that it is to end.
    """
    cancelling = deployments().cancel(deployment_id)
    if cancelling.due:
        # Not behind the pulls, where it is one that waits for a slot.
        send(cancelling.due, Lane.WORK)
    if cancelling.outcome in {"unknown", "cancelling"}:
        return cancelling.outcome
    standing = deployments().standings([deployment_id]).get(deployment_id)
    return _state(standing) if standing else "unknown"


def _state(standing: Standing) -> str:
    if isinstance(standing.error, DeploymentCancelled):
        return "cancelled" if standing.outcome else "cancelling"
    if isinstance(standing.error, DeploymentSuperseded):
        return "superseded"
    if standing.error:
        return "failed"
    return standing.outcome or standing.success
