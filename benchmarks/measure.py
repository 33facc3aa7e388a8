"""How figures are taken and shown: rounds of both sides in turn, and ratios with their spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from os import sysconf
from pathlib import Path


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: Sequence[float]

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def middle(self) -> float:
        return statistics.median(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def shown(self, unit: str = "", scale: float = 1) -> str:
        low, middle, high = (_short(each * scale) for each in (self.low, self.middle, self.high))
        return f"{middle}{unit} ({low} to {high})"


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    against: str
    found: str
    target: str
    is_met: bool | None
    """None where nothing is to be reached, or nothing could be measured."""


def in_turn(rounds: int, *sides: Callable[[], float]) -> list[Spread]:
    """Measure each side once a round, and begin each round with another one, so that what drifts befalls all alike."""
    taken: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for place in range(len(sides)):
            side = (number + place) % len(sides)
            taken[side].append(sides[side]())
    return [Spread(each) for each in taken]


def ratios(ours: Spread, theirs: Spread) -> Spread:
    """The ratio of each round."""
    return Spread([mine / other for mine, other in zip(ours.values, theirs.values, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent are no greater than."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process has to itself or shares (`VmRSS`)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * sysconf("SC_PAGE_SIZE")


def say(text: str = "") -> None:
    print(text, flush=True)


def table(lines: Sequence[Line]) -> str:
    """As Markdown, for docs/performance.md."""
    marks = {True: "yes", False: "**no**", None: "-"}
    rows = [f"| {each.what} | {each.against} | {each.found} | {each.target} | {marks[each.is_met]} |" for each in lines]
    return "\n".join(["| what | against | measured | to reach | reached |", "|---|---|---|---|---|", *rows])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
