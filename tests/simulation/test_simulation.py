"""The promises, kept in some hundred simulated runs; `make simulate` runs thousands."""

import pytest

from tests.simulation import runs, sabotage, seams

SEEDS = 240
QUICKLY_FOUND = {
    "let go of a stage that another one has": 20,
    "hand a stage on without saying so": 20,
    "set no alarm after it has rung": 20,
    "undo nothing once it was started": 20,
    "retire before proven": 20,
    "promote what isn't proven": 20,
    "make room for a name": 60,
    "let go of a stage that is held": 20,
    "forget who made room": 40,
    "make nothing anew of what made room": 80,
    "give aliases before proof": 30,
    "tell the hook when the old one is gone": 30,
    "take a host for away that was heard of a moment ago": 20,
    "vacate nothing": 80,
}


@pytest.fixture(scope="module", autouse=True)
def _ground():
    with seams.installed():
        yield


@pytest.mark.parametrize("part", range(4))
def test_no_seed_breaks_a_promise(part):
    failure = runs.first_failure(range(part, SEEDS, 4))
    assert failure is None, "\n".join([*failure.story[-60:], f"seed {failure.seed}: {failure.reason}"])


def test_a_seed_decides_everything():
    for seed in range(10):
        assert runs.run(seed)[0].digest() == runs.run(seed)[0].digest()


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_sabotage_is_found(name):
    with sabotage.ALL[name].done():
        assert runs.first_failure(range(QUICKLY_FOUND[name])) is not None
