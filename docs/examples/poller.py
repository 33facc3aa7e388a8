"""Usage: poller.py PROJECT STAGE IMAGE [CREDENTIAL]"""

import os
import sys

from worker.client import Client, Unanswered
from worker.errors import DeploymentError, SpecInvalid

project, stage, image, *credential = sys.argv[1:]

with Client(os.environ.get("DW_REDIS_URL", "redis://127.0.0.1:6379/0")) as client:
    try:
        deployment = client.deploy(project, stage, image, credential=credential[0] if credential else None)
        print(deployment.id)
        for progress in deployment.progress():
            print(progress.step, progress.current or "")
        print(deployment.result().ports)
    except SpecInvalid as error:
        sys.exit(f"Nothing was sent: {error}")
    except DeploymentError as error:
        sys.exit(f"{type(error).__name__}: {error} A retry can help: {error.retryable}")
    except Unanswered as error:
        sys.exit(str(error))
