"""Messages as Celery writes them into Redis, to be spoiled."""

import base64
import json
import uuid

QUEUE = "celery"


def message(content=b"[[], {}, {}]", headers=None, properties=None, **changed):
    """A message; `headers`, `properties` and others replace what is usual. Returns the task's id, and the text."""
    task_id = str(uuid.uuid4())
    whole = {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "any", "task": "docker.list", "id": task_id, **(headers or {})},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            **(properties or {}),
        },
        **changed,
    }
    return task_id, json.dumps(whole)
