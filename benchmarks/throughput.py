"""Deployments/s of one worker at several concurrencies, against a bare thread pool of the same size."""

import docker

from benchmarks import bare
from benchmarks.installation import Installation, clear, ended, job_image, real_engine
from benchmarks.measure import Line, in_turn, ratios, say, seconds_of

TARGET = 0.95


def run(*, quick: bool = False) -> list[Line]:
    """Concurrency 1, 4, 8 and 16."""
    say("deployments/s, image present, policy missing, no health gate; against a bare pool of as many threads")
    with real_engine() as api:
        image = job_image(api)
        return [_measured(api, image, each, quick=quick) for each in ((2,) if quick else (1, 4, 8, 16))]


def _measured(api: docker.APIClient, image: str, concurrency: int, *, quick: bool) -> Line:
    number, rounds = (4, 1) if quick else (max(12, 3 * concurrency), 5)
    with Installation(DW_CONCURRENCY=str(concurrency)) as ours, ours.worker():
        ended([ours.deploy(image)])

        def deploy() -> float:
            taken = seconds_of(lambda: ended([ours.deploy(image) for _ in range(number)]))
            clear_containers(api, f"docker-watcher.namespace={ours.namespace}")
            return number / taken

        def call() -> float:
            taken = seconds_of(lambda: bare.deploy_many(number, concurrency, image, ours.network))
            clear_containers(api, bare.LABEL)
            return number / taken

        rate, other = in_turn(rounds, deploy, call)
        clear(api, f"docker-watcher.namespace={ours.namespace}")
    found = ratios(rate, other)
    say(f"  concurrency {concurrency}: {rate.shown('/s')}, bare pool {other.shown('/s')}: ratio {found.shown()}")
    what = f"deployments/s at concurrency {concurrency}"
    return Line(what, "a bare pool of as many threads", found.shown(), f">= {TARGET}", found.middle >= TARGET)


def clear_containers(api: docker.APIClient, label: str) -> None:
    for each in api.containers(all=True, filters={"label": label}):
        api.remove_container(each["Id"], force=True, v=True)
