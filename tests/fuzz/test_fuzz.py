"""A short run of `make fuzz`."""

import os
import random

from tests.fuzz.campaign import run
from tests.fuzz.cases import drawn


def test_every_case_is_refused_or_done_and_the_engine_is_asked_for_nothing_else(second_redis_url, record_property):
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    tally = run(second_redis_url, drawn(seed, 300))
    record_property("figure", f"fuzz: {tally.summary.splitlines()[0]}; seed {seed}")
    assert tally.breaches == [], f"seed {seed}"
    assert tally.cases == 300
