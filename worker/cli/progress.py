"""What is shown of something under way: a view drawn anew in a terminal, or a line for each thing that happens."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.calls import TAKEN_WITHIN
from worker.cli.client import calls
from worker.cli.output import err

_STEPS = ("pull", "create", "start", "prove", "promote")
_ALL_STEPS = (
    *("pull", "inspect", "create", "connect", "displace", "start"),
    *("prove", "alias", "cutover", "promote", "drain", "retire"),
)
"""With those that a first deployment of an image that is there has no need of."""
_DOING = {
    "accept": "waits for its turn in the stage",
    "prove": "waits until it is healthy, or has run stably",
    "displace": "stops the old version to make room",
    "cutover": "asks the hook to lead to the new version",
    "drain": "lets the old version end its requests",
    "retire": "removes the old version",
    "vacate": "removes what the old host has",
    "revert": "leads back to the old version",
    "undo": "removes what it made",
    "expire": "never got its stage",
}
"""What takes a while, in words."""
_FRAMES_A_SECOND = 8
_FRAMES, _ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_RATE_OVER = 5.0
"""Seconds that a rate is the mean of."""
_LINE_EVERY = 10.0
"""Seconds between two lines on a pull, where there is no terminal."""
_ROOM_FOR_BARS = 70
_ROOM_FOR_WORDS = 55


def follow(task_id: str, task: str, title: Sequence[str], patience: float = TAKEN_WITHIN) -> None:
    """Show how far something is until it has ended: live in a terminal, in lines elsewhere.

    `title` is its stage, and what is done there. Raises Unanswered.
    """
    told = calls().follow(task_id, task, patience)
    # Not by what the console takes for one: FORCE_COLOR has it see a terminal in a file.
    if sys.stderr.isatty() and not err().is_dumb_terminal:
        _follow_live(told, title)
    else:
        _follow_in_lines(told)


def _follow_live(told: Iterator[dict[str, Any]], title: Sequence[str]) -> None:
    view = View(title)
    with Live(view, console=err(), transient=True, refresh_per_second=_FRAMES_A_SECOND, vertical_overflow="crop"):
        for meta in told:
            view.take(meta)


def _follow_in_lines(told: Iterator[dict[str, Any]]) -> None:
    said: tuple[object, ...] = ()
    bytes_at = 0.0
    for meta in told:
        now = tuple(meta.get(each) for each in ("step", "waits_for", "trouble"))
        if now != said:
            if not said or now[0] != said[0]:
                bytes_at = time.monotonic()
                err().print(meta["step"], markup=False)
            for detail in _details(meta):
                err().print(f"  {detail}", markup=False)
            said = now
        elif meta.get("total") and time.monotonic() - bytes_at >= _LINE_EVERY:
            bytes_at = time.monotonic()
            err().print(f"  {_bytes(meta)}", markup=False)


def _details(meta: Mapping[str, Any]) -> Iterator[str]:
    if waits_for := meta.get("waits_for"):
        yield f"waits for {waits_for}"
    if trouble := meta.get("trouble"):
        yield f"attempt {meta['attempt']} failed, and is made again: {trouble}"


def _bytes(meta: Mapping[str, Any]) -> str:
    return f"{meta['current'] / 1e6:.1f} of {meta['total'] / 1e6:.1f} MB"


class _Rate:
    """Bytes a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, now: float, current: int) -> None:
        if self._seen and current < self._seen[-1][1]:
            # Counted from its beginning again, as by another attempt.
            self._seen.clear()
        self._seen.append((now, current))
        while self._seen[0][0] < now - _RATE_OVER:
            self._seen.popleft()

    def shown(self) -> str:
        (began, least), (ended, most) = self._seen[0], self._seen[-1]
        return f"{(most - least) / (ended - began) / 1e6:.1f} MB/s" if ended > began and most > least else ""


class View:
    """A deployment, or an order to a stage, as it is by now: it is drawn anew with each frame, at any width."""

    def __init__(self, title: Sequence[str]) -> None:
        self._title = title
        self._began = time.monotonic()
        self._steps: dict[str, float] = {}
        """When each step was first seen."""
        self._meta: dict[str, Any] = {}
        self._trouble: tuple[str, ...] = ()
        self._pull = _Rate()
        self._layers: dict[tuple[str, str], _Rate] = {}

    def take(self, meta: dict[str, Any]) -> None:
        """Take what is told by now."""
        now = time.monotonic()
        if meta["step"] != self._meta.get("step"):
            self._trouble = ()
        self._steps.setdefault(meta["step"], now)
        # The next attempt says nothing of what made it one.
        self._trouble = (*_details(meta),) if "trouble" in meta else self._trouble
        if meta.get("total"):
            self._pull.take(now, meta["current"])
        for layer in meta.get("at_work", ()):
            self._layers.setdefault((layer["id"], layer["doing"]), _Rate()).take(now, layer["current"])
        self._meta = meta

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now, width = time.monotonic(), options.max_width
        stage, what = self._title
        yield Text.assemble((stage, "bold"), " ", what, (f" {now - self._began:.0f} s", "dim"), overflow="fold")
        yield from self._done(options)
        step = self._meta.get("step")
        if step is None:
            yield self._at_work(options, "waits for a worker")
            return
        yield self._at_work(options, step, *self._words(now, width))
        for each in self._trouble:
            yield Text(f"    {each}", "yellow", overflow="fold")
        if self._meta.get("at_work"):
            yield self._layer_table(options)

    def _done(self, options: ConsoleOptions) -> Iterator[Text]:
        step = self._meta.get("step")
        at = _ALL_STEPS.index(step) if step in _ALL_STEPS else -1
        passed = [each for each in self._steps if each not in {step, "accept"}]
        # What took less than a look is passed as well.
        passed += [each for each in _ALL_STEPS[: max(at, 0)] if each in _STEPS and each not in passed]
        order = [*self._steps]
        ends = {each: self._steps[after] for each, after in pairwise(order)}
        tick = "ok" if options.ascii_only else "✓"
        for each in sorted(passed, key=lambda name: _ALL_STEPS.index(name) if name in _ALL_STEPS else len(_ALL_STEPS)):
            took = f" {ends[each] - self._steps[each]:.1f} s" if each in ends else ""
            yield Text.assemble((f"  {tick} ", "green"), each, (took, "dim"))

    def _at_work(self, options: ConsoleOptions, step: str, *words: str) -> Text:
        style = "bold cyan" if step in _ALL_STEPS or step == "accept" else "bold yellow"
        frames = _ASCII_FRAMES if options.ascii_only else _FRAMES
        frame = frames[int(time.monotonic() * _FRAMES_A_SECOND) % len(frames)]
        said = ((f" {each}", "dim") for each in words if each)
        return Text.assemble((f"  {frame} ", "cyan"), (step, style), *said, overflow="fold")

    def _words(self, now: float, width: int) -> Iterator[str]:
        meta = self._meta
        if meta.get("total"):
            yield _bytes(meta)
            yield self._pull.shown()
            if meta.get("layers") and width >= _ROOM_FOR_WORDS:
                yield f"{meta['layers_done']} of {meta['layers']} layers"
        if waits_for := meta.get("waits_for"):
            yield f"waits for {waits_for}"
        elif not meta.get("total"):
            yield _DOING.get(meta["step"], "")
        yield f"{now - self._steps[meta['step']]:.0f} s"

    def _layer_table(self, options: ConsoleOptions) -> Table:
        is_wide, has_bars = options.max_width >= _ROOM_FOR_WORDS, options.max_width >= _ROOM_FOR_BARS
        table = Table.grid(padding=(0, 1))
        for each in self._meta["at_work"]:
            of = " of " if is_wide else "/"
            figures = f"{each['current'] / 1e6:.1f}{of}{each['total'] / 1e6:.1f} MB" if each["total"] else ""
            bar = ProgressBar(total=max(each["total"], 1), completed=each["current"], width=20)
            table.add_row(
                "   " if is_wide else " ",
                each["id"][: 12 if is_wide else 6],
                *((Text(each["doing"], "cyan"),) if is_wide or not figures else ()),
                *((bar,) if has_bars else ()),
                Text(figures, "dim"),
                Text(self._layers[each["id"], each["doing"]].shown(), "dim"),
            )
        return table
