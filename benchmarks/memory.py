"""Memory of a worker that is idle, and after many deployments; against an empty Celery worker of the same pool."""

from benchmarks import instant
from benchmarks.installation import Installation, empty_workers, ended
from benchmarks.measure import Line, resident_bytes, say
from benchmarks.overhead import IMAGE
from worker.settings import QUICK_THREADS

_CONCURRENCY = 8
_BATCH = 50


def run(*, quick: bool = False) -> list[Line]:
    """Idle, after the first deployments, and after 2,000 more."""
    warm, number = (5, 10) if quick else (200, 2000)
    say(f"memory (VmRSS) of a worker with {_CONCURRENCY} slots of each kind; engine answering at once")
    threads = 2 * _CONCURRENCY + QUICK_THREADS
    with (
        instant.engines() as (host,),
        Installation(host, DW_CONCURRENCY=str(_CONCURRENCY)) as ours,
        ours.worker() as mine,
        empty_workers(1, threads, ours.folder) as (other,),
    ):
        idle, its = resident_bytes(mine), resident_bytes(other)
        _deploy(ours, warm)
        warmed = resident_bytes(mine)
        _deploy(ours, number)
        after = resident_bytes(mine)
    megabytes = [each / 1e6 for each in (idle, warmed, after, its)]
    say(
        f"  ours: idle {megabytes[0]:.1f} MB, after {warm} deployments {megabytes[1]:.1f}, after {number} more "
        f"{megabytes[2]:.1f}; an empty worker of {threads} threads: {megabytes[3]:.1f} MB"
    )
    ratio, growth = idle / its, (after - warmed) / 1e6
    threads_of = f"an empty Celery worker of {threads} threads"
    return [
        Line("memory of an idle worker", threads_of, f"{ratio:.2f}", "<= 1.3", ratio <= 1.3),
        Line(
            f"its growth over {number} deployments, after the first {warm} ({(warmed - idle) / 1e6:.1f} MB with these)",
            "itself before",
            f"{growth:.1f} MB",
            "<= 5 MB",
            growth <= 5,
        ),
    ]


def _deploy(ours: Installation, number: int) -> None:
    for first in range(0, number, _BATCH):
        ended([ours.deploy(IMAGE) for _ in range(min(_BATCH, number - first))])
