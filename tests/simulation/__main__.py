"""`python -m tests.simulation`: run seeds, and show that sabotage is found. Run by `make simulate`."""

import argparse
import sys
import time

from tests.simulation import runs, seams

_TAIL = 60
_MOST_SEEDS_FOR_SABOTAGE = 1000


def main():
    asked = _arguments()
    if asked.seed is not None:
        sys.exit(_replay(asked.seed, whole=asked.story))
    failures = _search(asked)
    unfound = _show_sabotages()
    sys.exit(bool(failures or unfound))


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--story", action="store_true", help="with --seed: tell all that happened")
    parser.add_argument("--seconds", type=float, default=60, help="how long to look for failures (%(default)s)")
    parser.add_argument("--runs", type=int, help="how many seeds at the most")
    parser.add_argument("--first", type=int, help="the first seed; one that depends on the time, unless given")
    return parser.parse_args()


def _replay(seed, *, whole):
    with seams.installed():
        story, failure = runs.run(seed)
    if whole:
        print(*story.lines(), sep="\n")
    elif failure:
        _tell(failure)
    print(failure.reason if failure else f"seed {seed}: all promises kept, {len(story)} effects")
    return bool(failure)


def _search(asked):
    first = int(time.time()) % 1_000_000 if asked.first is None else asked.first
    began = time.monotonic()
    done, failures = runs.search(asked.seconds, first, asked.runs)
    seconds = time.monotonic() - began
    for failure in failures[:3]:
        _tell(failure)
    print(
        f"seeds from {first}: {seconds:.0f} s, {done} runs, {done / seconds * 60:.0f} runs/minute, "
        f"{len(failures)} failures"
    )
    return failures


def _tell(failure):
    print(*failure.story[-_TAIL:], sep="\n")
    print(f"\nseed {failure.seed}: {failure.reason}")
    print(f"replay: .venv/bin/python -m tests.simulation --seed {failure.seed} --story\n")


def _show_sabotages():
    unfound = 0
    for name, failure in runs.find_sabotages(_MOST_SEEDS_FOR_SABOTAGE):
        unfound += failure is None
        found = f"seed {failure.seed:<4} {failure.reason.splitlines()[-1][:100]}" if failure else "NOT FOUND"
        print(f"{name:<60} {found}", flush=True)
    return unfound


if __name__ == "__main__":
    main()
