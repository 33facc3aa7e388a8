"""Run the benchmarks, or those that are named, and print the table: `make bench`, `make bench B=overhead`."""

import sys
from collections.abc import Callable

from benchmarks import commands, growth, latency, memory, overhead, pulls, throughput
from benchmarks.measure import Line, say, table

BENCHMARKS: dict[str, Callable[..., list[Line]]] = {
    "latency": latency.run,
    "others": latency.run_others,
    "throughput": throughput.run,
    "overhead": overhead.run,
    "growth": growth.run,
    "memory": memory.run,
    "pulls": pulls.run,
    "commands": commands.run,
}


def main() -> int:
    quick, names = "--quick" in sys.argv, [each for each in sys.argv[1:] if each != "--quick"]
    if unknown := set(names) - BENCHMARKS.keys():
        say(f"There is no benchmark {', '.join(unknown)}: choose of {', '.join(BENCHMARKS)}.")
        return 2
    lines = [line for name in names or BENCHMARKS for line in BENCHMARKS[name](quick=quick)]
    say(f"\n{table(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
