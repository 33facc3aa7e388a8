"""`make fuzz`: thousands of cases, and what has become of them."""

import argparse
import contextlib
import random
import sys
from pathlib import Path

from tests.conftest import own_database
from tests.fuzz.campaign import BATCH, run
from tests.fuzz.cases import drawn
from tests.services import required


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1200, help="no batch begins after so long (%(default)s)")
    parser.add_argument("--batch", type=int, help=f"send this batch of {BATCH} alone")
    asked = parser.parse_args()
    tell(f"seed {asked.seed}")
    found = drawn(asked.seed, asked.cases)
    last = len(found) if asked.batch is None else (asked.batch + 1) * BATCH
    evidence = Path(required("DW_SERVICES_STATE")) / "fuzz.log"
    with own_database(1, "master") as url, evidence.open("w") as log, contextlib.redirect_stdout(log):
        tally = run(url, found[:last], seconds=asked.seconds, skip=asked.batch or 0, tell=tell)
    for breach in tally.breaches:
        tell(f"{breach}\n")
    tell(f"{tally.summary}; seed {asked.seed}")
    if tally.breaches:
        tell(f"evidence  {evidence}")
    return 1 if tally.breaches else 0


def tell(what):
    # Not to where the worker's log goes.
    sys.__stdout__.write(f"{what}\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    sys.exit(main())
