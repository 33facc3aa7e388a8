"""Runs of seeds: one, many on all cores, and those that are to find a sabotage."""

import multiprocessing
import os
import sys
import time
import traceback
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.simulation import sabotage, seams
from tests.simulation.world import World

_for_good = ExitStack()


@dataclass(frozen=True)
class Failure:
    """A seed that broke a promise."""

    seed: int
    reason: str
    story: list


def run(seed):
    """Run a seed on ground that is installed; returns its story, and what it broke or None."""
    world = World(seed)
    with seams.ground.under(world):
        try:
            world.run()
        except Exception as error:  # noqa: BLE001  # whatever product or simulation raises is a finding
            reason = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
            return world.story, Failure(seed, reason, list(world.story.lines()))
        finally:
            world.close()
    return world.story, None


def first_failure(seeds):
    return next(filter(None, (run(seed)[1] for seed in seeds)), None)


def search(seconds, first, most=None):
    """Run seed after seed on all cores, for some seconds; returns how many were run, and the failures."""
    cores, done, failures = os.cpu_count(), 0, []
    end = first + most if most is not None else sys.maxsize
    with _processes() as pool:
        for number, failed in pool.map(_search, [(range(first + each, end, cores), seconds) for each in range(cores)]):
            done += number
            failures += failed
    return done, failures


def _search(task):
    seeds, seconds = task
    deadline, done, failures = time.monotonic() + seconds, 0, []
    for seed in seeds:
        if time.monotonic() >= deadline:
            break
        done += 1
        failures += filter(None, [run(seed)[1]])
    return done, failures


def find_sabotages(most):
    """Gives each sabotage's name, and the failure of the first seed that finds it, or None."""
    with _processes() as pool:
        yield from pool.imap(_find_sabotage, [(name, most) for name in sabotage.ALL])


def _find_sabotage(task):
    name, most = task
    with sabotage.ALL[name].done():
        return name, first_failure(range(most))


@contextmanager
def _processes():
    # Started anew, not forked: what is patched stays in them.
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), initializer=_install) as pool:
        yield pool


def _install():
    _for_good.enter_context(seams.installed())
