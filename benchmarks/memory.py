"""Memory of a worker that is idle, and after many deployments; against an empty Celery worker of the same pool.

Deployments go to the same stages again and again, so that the installation is no larger afterwards.
"""

from collections.abc import Callable
from itertools import count

from benchmarks import empty, instant
from benchmarks.installation import Installation, Result, empty_workers, ended
from benchmarks.measure import Line, resident_bytes, say
from benchmarks.overhead import IMAGE
from worker.settings import QUICK_THREADS

_CONCURRENCY = 8
_BATCH = 50
_MESSAGES = 3
"""Of a plain deployment; so many empty tasks stand for one."""
_LIBRARIES = ("pydantic", "pydantic_settings", "cryptography.fernet", "docker", "structlog")


def run(*, quick: bool = False) -> list[Line]:
    """Idle, after the first deployments, and after 2,000 more."""
    warm, number = (5, 10) if quick else (200, 2000)
    say(f"memory (VmRSS) of a worker with {_CONCURRENCY} slots of each kind; engine answering at once")
    threads = 2 * _CONCURRENCY + QUICK_THREADS
    numbers = count()
    with instant.engines() as (host,), Installation(host, DW_CONCURRENCY=str(_CONCURRENCY)) as ours:
        # One after the other, so that both have the same database, which their client knows.
        with empty_workers(1, threads, ours.folder, imports=_LIBRARIES) as (floor,):
            least = resident_bytes(floor)
        with empty_workers(1, threads, ours.folder) as (other,), ours.worker() as mine:

            def deploy() -> Result:
                return ours.deploy(IMAGE, stage=f"s{next(numbers) % _BATCH}", force=True)

            ours_at = [resident_bytes(mine), *_grown(mine, deploy, warm, number)]
            its_tasks = (warm * _MESSAGES, number * _MESSAGES)
            other_at = [resident_bytes(other), *_grown(other, empty.nothing.delay, *its_tasks)]
    whose = f"an empty Celery worker of {threads} threads"
    _tell("ours", ours_at, f"{warm} deployments", number)
    _tell(whose, other_at, f"{warm * _MESSAGES} tasks", number * _MESSAGES)
    say(f"  an empty one with the libraries that ours needs ({', '.join(_LIBRARIES)}): {least / 1e6:.1f} MB")
    ratio, growth, its_growth = ours_at[0] / other_at[0], *((at[2] - at[1]) / 1e6 for at in (ours_at, other_at))
    return [
        Line("memory of an idle worker", whose, f"{ratio:.2f}", "<= 1.3", ratio <= 1.3),
        Line(
            "memory of an idle worker",
            "the same with the libraries that ours needs",
            f"{ours_at[0] / least:.2f}",
            "",
            None,
        ),
        Line(
            f"its growth over {number} deployments, after the first {warm} ({(ours_at[1] - ours_at[0]) / 1e6:.1f} MB)",
            f"itself before ({its_growth:.1f} MB: the empty worker over {number * _MESSAGES} tasks)",
            f"{growth:.1f} MB",
            "<= 5 MB",
            growth <= 5,
        ),
    ]


def _grown(pid: int, ask: Callable[[], Result], warm: int, number: int) -> list[int]:
    """A worker's memory after the first tasks, and after more of them."""
    found = []
    for many in (warm, number):
        for first in range(0, many, _BATCH):
            ended([ask() for _ in range(min(_BATCH, many - first))])
        found.append(resident_bytes(pid))
    return found


def _tell(whose: str, found: list[int], first: str, more: int) -> None:
    idle, warmed, after = (f"{each / 1e6:.1f} MB" for each in found)
    say(f"  {whose}: idle {idle}, after {first} {warmed}, after {more} more {after}")
