"""What `dw` imports when it asks a worker for something: each library more is time that somebody waits."""

import os
import subprocess
import sys
from pathlib import Path

DW = Path(sys.executable).with_name("dw")


def test_it_imports_none_of_what_it_has_no_use_for():
    environment = {**os.environ, "DW_REDIS_URL": "redis://127.0.0.1:1/0"}
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", DW, "ps"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time")}
    assert {"redis", "celery.app.base"} <= imported
    assert not imported & {"docker", "cryptography.fernet", "opentelemetry.sdk.metrics._internal"}
