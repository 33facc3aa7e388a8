"""`make chaos`: deployments under fire, and whether the promises were kept."""

import argparse
import os
import random
import sys

from tests.chaos.ordeal import Ordeal, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    for name in ("deployments", "stages", "worker_kills", "redis_kills", "engine_kills"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Ordeal, name))
    if os.environ.get("DW_SERVICES_ENGINE") != "private":
        parser.error("only a private engine may be killed: run it by `make chaos`, as root and without DOCKER_HOST")
    ordeal = Ordeal(**vars(parser.parse_args()))
    sys.stdout.write(f"seed {ordeal.seed}\n")
    ending = run(ordeal)
    for breach in ending.breaches:
        sys.stdout.write(f"{breach.kind:10} {breach.what}\n")
    sys.stdout.write(f"{ending.summary}\n")
    if ending.breaches:
        sys.stdout.write(f"evidence  {ending.evidence}\n")
    return 1 if ending.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
