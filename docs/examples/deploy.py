"""Usage: deploy.py PROJECT STAGE IMAGE [CREDENTIAL]"""

import os
import sys
import time

from celery import Celery
from celery.states import READY_STATES

url = os.environ.get("DW_REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery(broker=url, backend=url)
arguments = dict(zip(("project", "stage", "image", "credential"), sys.argv[1:], strict=False))

deployment = app.send_task("docker.deploy", kwargs=arguments)
print(deployment.id)

step = None
while (state := deployment.state) not in READY_STATES:
    progress = deployment.info if state == "PROGRESS" else {}
    if isinstance(progress, dict) and progress.get("step") != step:
        step = progress.get("step")
        print(step)
    time.sleep(0.2)

result = deployment.get(propagate=False)
if isinstance(result, Exception):  # of the name of one of the contract's errors
    sentence, *facts = result.args
    sys.exit(f"{type(result).__name__}: {sentence} {facts}")
print(result["ports"])
