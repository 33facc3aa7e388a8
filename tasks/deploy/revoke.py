"""Celery's own revoke, on a deployment's id, is a cancel: so `Revoke` and `Terminate` in Flower do what they say.

Celery's revoke knows the task of that id only, which ended when the deployment was accepted; the deployment itself is
its record and its steps.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from celery.worker import state as worker_state
from celery.worker.control import control_command
from redis.exceptions import RedisError

from tasks.cancel import end
from worker.interrupt import interruptible
from worker.monitors import ToldRequest
from worker.store import deployments

log = structlog.get_logger()


@control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(_: object, task_id: str | Sequence[str], **__: object) -> dict[str, str]:
    """Cancel deployments and pulls; other tasks that have not begun are skipped once they come, as ever.

    Replaces Celery's command of this name, which each worker gets, and which can't stop what a thread is at.
    """
    ids = [task_id] if isinstance(task_id, str) else list(task_id)
    try:
        states = {each: end(each) for each in ids}
    except RedisError as error:
        log.warning("not_cancelled", deployments=ids, error=str(error))
        return {"error": f"Redis can't be had: {error}"}
    for each in (each for each, state in states.items() if state == "unknown"):
        # A task of another kind, or a deployment that is yet to come: the records remember that.
        worker_state.revoked.add(each)
        interruptible.break_off(each)
    return {"ok": ", ".join(f"{each}: {state}" for each, state in states.items())}


class DeploymentRequest(ToldRequest):
    """The message of a deployment: also a revoked one is accepted, so that it ends as one that was cancelled."""

    def revoked(self) -> Any:
        if not self.expires or self._is_accepted():
            return False
        return self.maybe_expire() and super().revoked()

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  # as in Celery
        # It was accepted: that it has succeeded is told by whoever ends it.
        if type != "task-succeeded":
            super().send_event(type, **fields)

    def _is_accepted(self) -> bool:
        # A worker that died before it could acknowledge leaves the message of a deployment that is under way.
        try:
            return deployments().is_known(self.id)
        except RedisError as error:
            log.warning("expiry_not_judged", deployment=self.id, error=str(error))
            return True
