"""Runs of seeds."""

import traceback
from dataclasses import dataclass

from tests.simulation.invariants import Violation
from tests.simulation.seams import ground
from tests.simulation.world import World


@dataclass(frozen=True)
class Failure:
    """A seed that broke a promise."""

    seed: int
    reason: str
    story: list


def run(seed):
    """Run a seed on ground that is installed: its world, and the failure if there is one."""
    world = World(seed)
    with ground.under(world):
        try:
            world.run()
        except Violation as violation:
            return world, Failure(seed, str(violation), list(world.story.lines()))
        except Exception:  # noqa: BLE001  # whatever the product or the simulation raises is a finding
            return world, Failure(seed, traceback.format_exc(), list(world.story.lines()))
        finally:
            world.close()
    return world, None
