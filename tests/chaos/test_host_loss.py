"""A short run of `make lose-host`."""

import pytest

from tests.chaos.host_loss import run

pytestmark = pytest.mark.needs_private_engine


def test_a_lost_host_costs_waiting_and_nothing_else(second_redis_url, tmp_path, record_property):
    loss = run(second_redis_url, tmp_path, deployments=60, stages=12)
    record_property("figure", f"a host lost in the middle: {loss}")
    assert loss.breaches == []
    assert loss.ended["live"]
    assert loss.waited_for_it
