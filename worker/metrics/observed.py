"""What is looked up when Prometheus asks: how this host stands, and how the others do, as Redis knows it.

Each worker of a host tells the same of it, so a query takes `max by (host)`. Engines aren't asked here: each host's
heartbeat does that every few seconds, and its answer is in Redis.
"""

import platform
import threading
import time
from collections.abc import Iterable, Iterator

import redis
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.about import own_version
from worker.broker.depth import Depths
from worker.celery import Lane
from worker.settings import settings
from worker.store import Deployments, Hosts, connection, key_prefix

log = structlog.get_logger()

_ANSWER_WITHIN = 2.0
"""Seconds that Redis may take: Prometheus gives a whole answer 10 s by default."""
_GOOD_FOR = 1.0
"""Seconds that what was looked up is told again: whoever asks more often makes Redis no busier."""


class Observed(Collector):
    """Gauges of this host and the others; asked by threads, one at a time."""

    def __init__(self) -> None:
        store, prefix = connection(_ANSWER_WITHIN), key_prefix(settings())
        self._deployments = Deployments(store, prefix, settings())
        self._hosts = Hosts(store, prefix, settings())
        self._depths = Depths.of(settings(), _ANSWER_WITHIN)
        self._guard = threading.Lock()
        self._known: list[GaugeMetricFamily] = []
        self._known_at = -_GOOD_FOR

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        with self._guard:
            if time.monotonic() - self._known_at >= _GOOD_FOR:
                self._known = [_build_info(), *self._looked_up()]
                self._known_at = time.monotonic()
            return self._known

    def _looked_up(self) -> list[GaugeMetricFamily]:
        try:
            found = [*self._of_this_host(), *self._of_all_hosts(), *self._of_queues()]
        except redis.RedisError as error:
            log.warning("metrics_wait_for_redis", error=str(error))
            return [_gauge("dw_redis_up", "Whether Redis answers this worker.", {(): 0})]
        return [_gauge("dw_redis_up", "Whether Redis answers this worker.", {(): 1}), *found]

    def _of_this_host(self) -> Iterator[GaugeMetricFamily]:
        load, host = self._deployments.workload(), (settings().host,)
        yield _gauge(
            "dw_deployments_running",
            "Deployments and orders to stages that have their stage.",
            {host: load.running},
            "host",
        )
        yield _gauge("dw_deployments_waiting", "Those that wait for their stage.", {host: load.waiting}, "host")
        yield _gauge(
            "dw_oldest_deployment_seconds", "Since the oldest of both was accepted.", {host: load.oldest}, "host"
        )
        yield _gauge(
            "dw_step_overdue_seconds",
            "For how long the step that waits the longest for a worker has been due.",
            {host: load.overdue},
            "host",
        )
        yield _gauge(
            "dw_deployment_past_deadline_seconds",
            "Since the deadline of the deployment that is under way and the latest.",
            {host: load.past_deadline},
            "host",
        )

    def _of_all_hosts(self) -> Iterator[GaugeMetricFamily]:
        hosts = self._hosts.all()
        there = [each for each in hosts if not each.is_away]
        yield _gauge(
            "dw_host_up",
            "Whether a host's workers were heard of within DW_LEASE_SECONDS.",
            {(each.name,): not each.is_away for each in hosts},
            "host",
        )
        yield _gauge(
            "dw_engine_up",
            "Whether the engine of a host that is there answers its workers.",
            {(each.name,): each.told.engine is not None for each in there},
            "host",
        )
        yield _gauge(
            "dw_host_drained",
            "Whether a host takes on nothing new.",
            {(each.name,): each.is_drained for each in hosts},
            "host",
        )
        yield _gauge(
            "dw_host_containers",
            "Containers that run on a host, of whomever.",
            {(each.name,): each.told.containers for each in there if each.told.engine},
            "host",
        )
        yield _gauge(
            "dw_host_free_disk_bytes",
            "Free bytes where the engine keeps images and containers, where its worker can see that.",
            {(each.name,): each.told.free_disk for each in there if each.told.free_disk is not None},
            "host",
        )

    def _of_queues(self) -> Iterator[GaugeMetricFamily]:
        if self._depths is None:
            return
        depths = self._depths.read({lane: lane.queue(settings().namespace, settings().host) for lane in Lane})
        yield _gauge(
            "dw_queue_messages",
            "Messages in a queue that no worker has taken yet; the shared one is of all hosts.",
            {(settings().host, lane): depth for lane, depth in depths.items()},
            *("host", "lane"),
        )


def _build_info() -> GaugeMetricFamily:
    values = settings()
    told = (own_version(), platform.python_version(), values.host, values.namespace)
    return _gauge(
        "dw_build_info",
        "The worker's version, and what it serves.",
        {told: 1},
        "version",
        "python",
        "host",
        "namespace",
    )


def _gauge(name: str, text: str, values: dict[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for told, value in values.items():
        family.add_metric(told, value)
    return family
