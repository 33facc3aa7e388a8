"""Our own cost: an engine that answers at once, against an empty chain of five tasks on the same Redis."""

import time
from collections.abc import Callable, Sequence

from celery import chain

from benchmarks import empty, instant
from benchmarks.installation import Installation, Result, empty_workers, ended
from benchmarks.measure import Line, Spread, cpu_seconds, in_turn, ratios, say

TARGET = 0.5
IMAGE = "registry.example.com/acme/shop:1"
_CONCURRENCY = 8


def run(*, quick: bool = False) -> list[Line]:
    """Deployments/s and CPU of 1, 2 and 4 worker processes."""
    say("own overhead: an engine that answers at once; against an empty chain of five tasks, same Redis, same pool")
    counts, number, rounds = ((1,), 10, 1) if quick else ((1, 2, 4), 150, 5)
    lines = []
    for processes in counts:
        lines += _measured(processes, number, rounds)
    return lines


def _measured(processes: int, number: int, rounds: int) -> list[Line]:
    with (
        instant.engines() as (host,),
        Installation(host, DW_CONCURRENCY=str(_CONCURRENCY)) as ours,
        ours.workers(processes) as workers,
        empty_workers(processes, _CONCURRENCY, ours.folder) as others,
    ):
        deploying = Rate(workers, lambda: ours.deploy(IMAGE))
        chaining = Rate(others, lambda: chain(*[empty.nothing.si() for _ in range(5)]).apply_async())
        for side in (deploying, chaining):
            side.measure(min(number, 20))
        rate, other = in_turn(rounds, lambda: deploying.measure(number), lambda: chaining.measure(number))
    found = ratios(rate, other)
    say(f"  {processes} processes: deployments/s {rate.shown()}, {deploying.cpu()} of CPU each")
    say(f"  {processes} processes: empty chains/s {other.shown()}, {chaining.cpu()} of CPU each")
    say(f"  {processes} processes: ratio {found.shown()}")
    what = f"deployments/s, engine answering at once, {processes} worker processes ({deploying.cpu()} of CPU each)"
    against = f"empty five-task chains/s ({chaining.cpu()} of CPU each)"
    return [Line(what, against, found.shown(), f">= {TARGET}", found.middle >= TARGET)]


class Rate:
    """How many a second these processes do, and what processor time each costs them."""

    def __init__(self, pids: Sequence[int], send: Callable[[], Result]) -> None:
        self._pids = pids
        self._send = send
        self._costs: list[float] = []

    def measure(self, number: int) -> float:
        before, began = self._used(), time.perf_counter()
        results: list[Result] = [self._send() for _ in range(number)]
        ended(results)
        took = time.perf_counter() - began
        self._costs.append((self._used() - before) / number)
        return number / took

    def cpu(self) -> str:
        return f"{Spread(self._costs).middle * 1000:.1f} ms"

    def _used(self) -> float:
        return sum(map(cpu_seconds, self._pids))
