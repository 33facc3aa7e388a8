"""What can be enqueued: one module for each task of the contract, and `deploy/` for the chain of them.

Beside these are what several tasks share: `base`, `managed`, `standings`, `evidence`, `cutover`, `ports`, `adopt`.

Importing this package registers them all with the app in `worker.celery`.
"""

from tasks import (
    cancel,
    connect,
    create,
    deploy,
    ensure_network,
    inspect,
    list,  # noqa: A004  # the task, in this package
    logs,
    prune,
    pull,
    reconcile,
    remove,
    restart,
    rollback,
    stage,
    start,
    stop,
)

__all__ = [
    "cancel",
    "connect",
    "create",
    "deploy",
    "ensure_network",
    "inspect",
    "list",
    "logs",
    "prune",
    "pull",
    "reconcile",
    "remove",
    "restart",
    "rollback",
    "stage",
    "start",
    "stop",
]
