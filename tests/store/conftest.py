"""A Redis for the records: a real one, and the one of the simulation, which must answer the same."""

import uuid

import pytest
import redis

from tests.simulation.clock import Clock
from tests.simulation.keyspace import Keyspace, SimulatedRedis


@pytest.fixture(params=["real", "simulated"])
def connection(request):
    if request.param == "simulated":
        # Its time moves on a bit at each look, so that awaiting the end of a lease is the same on both.
        yield SimulatedRedis(Keyspace(Clock(tick=0.002)))
    else:
        with redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True) as connection:
            yield connection


@pytest.fixture
def prefix():
    return f"dw:{uuid.uuid4().hex[:8]}:"
