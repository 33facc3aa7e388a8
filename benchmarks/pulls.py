"""Many deployments of one image at once on one host: how often the registry is asked for it."""

import os
import re
import subprocess
from pathlib import Path

from benchmarks.installation import Installation, clear, ended, job_image, real_engine
from benchmarks.measure import Line, say
from compose.jobimage import push


def run(*, quick: bool = False) -> list[Line]:
    """Policy `always`, of an image that the engine doesn't have; counted in the registry's own log."""
    number = 3 if quick else 200
    with real_engine() as api, Installation(DW_CONCURRENCY="16") as ours:
        user, password = (os.environ[f"DW_SERVICES_REGISTRY_{each}"] for each in ("USER", "PASSWORD"))
        image = job_image(api, ours.namespace, layers=[1_000_000])
        push(api, image, user, password)
        api.remove_image(image, force=True)
        registry = ("--registry", os.environ["DW_SERVICES_REGISTRY"], "--username", user, "--password-stdin")
        added = (ours.dw(), "credential", "add", "registry", *registry)
        subprocess.run(added, env=ours.environment, input=password, text=True, check=True, capture_output=True)
        log = Path(os.environ["DW_SERVICES_STATE"]) / "registry.log"
        before = log.stat().st_size
        with ours.worker():
            ended([ours.deploy(image, policy="always", credential="registry") for _ in range(number)], 600)
        asked = log.read_bytes()[before:].decode(errors="replace")
        clear(api, f"docker-watcher.namespace={ours.namespace}")
    # An engine that has the image of a tag already asks only by `HEAD` whether that is still so, and fetches nothing.
    pulled, looked = (len(re.findall(rf'"{each} /v2/bench/job/manifests/', asked)) for each in ("GET", "HEAD"))
    say(
        f"{number} deployments of one image at once, policy always: manifest fetched {pulled}, looked at {looked} times"
    )
    what = f"pulls for {number} deployments of one image at once, in the registry's log ({looked} `HEAD` beside them)"
    return [Line(what, "one deployment's", str(pulled), "1", pulled == 1)]
