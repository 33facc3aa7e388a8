"""What `dw` takes to start: its help against Python's own start, its list against `docker ps`."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping

from benchmarks import instant
from benchmarks.installation import Installation
from benchmarks.measure import Line, Spread, in_turn, say, seconds_of


def run(*, quick: bool = False) -> list[Line]:
    """Both in turn, many times."""
    rounds = 1 if quick else 21
    with instant.engines() as (host,), Installation(host) as ours, ours.worker():
        docker = shutil.which("docker")
        sides = [
            _timed(ours.environment, ours.dw(), "--help"),
            _timed(ours.environment, sys.executable, "-c", "pass"),
            _timed(ours.environment, ours.dw(), "ps"),
            *([_timed(ours.environment, docker, "ps")] if docker else []),
        ]
        for side in sides:
            side()
        taken = in_turn(rounds, *sides)
    lines = [_more("`dw --help`", "`python -c pass`", taken[0], taken[1], 0.25)]
    if docker:
        return [*lines, _more("`dw ps`", "`docker ps`", taken[2], taken[3], 0.3)]
    say("  NOT MEASURED: `docker ps`, as there is no docker here")
    return [*lines, Line("`dw ps`", "`docker ps`", "not measured: no docker here", "<= 0.3 s more", None)]


def _timed(environment: Mapping[str, str], *command: str) -> Callable[[], float]:
    def run_it() -> object:
        return subprocess.run(
            command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    return lambda: seconds_of(run_it)


def _more(what: str, against: str, ours: Spread, theirs: Spread, most: float) -> Line:
    more = Spread([mine - other for mine, other in zip(ours.values, theirs.values, strict=True)])
    say(f"  {what} {ours.shown(' s')}, {against} {theirs.shown(' s')}: {more.shown(' s')} more")
    return Line(what, against, f"{more.shown(' s')} more", f"<= {most} s more", more.middle <= most)
