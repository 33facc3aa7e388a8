"""A short run of `make chaos`."""

import os
import random
import sys

import pytest

from tests.chaos.ordeal import Ordeal, run

pytestmark = pytest.mark.needs_private_engine


def test_every_deployment_ends_right_whatever_is_killed():
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    ending = run(Ordeal(seed, deployments=40, worker_kills=4, redis_kills=1, engine_kills=1, patience=60))
    sys.stdout.write(f"{ending.summary}\n")
    assert ending.breaches == [], ending.summary
