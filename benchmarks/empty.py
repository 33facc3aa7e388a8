"""A Celery app whose one task does nothing: what Celery itself costs on the same Redis."""

import os

from celery import Celery

app = Celery(
    "empty", broker=os.environ.get("EMPTY_REDIS_URL"), backend=os.environ.get("EMPTY_REDIS_URL"), set_as_current=False
)
app.conf.update(worker_pool="threads", task_acks_late=True, worker_prefetch_multiplier=1, worker_send_task_events=True)


@app.task(shared=False)
def nothing() -> None:
    """Do nothing."""
