"""The Celery app: `celery -A worker worker`, with everything else from the settings.

What each setting is for, where it isn't Celery's default, and where it was learnt, stands beside it.
"""

import sys
from enum import StrEnum

from celery import Celery
from celery.signals import beat_init
from kombu import Queue

from worker import address
from worker.address import SHARED_QUEUE
from worker.orders import numbered_by_broker
from worker.settings import QUICK_THREADS, Settings, SettingsInvalid, settings
from worker.signing import sign_what_is_sent


class Lane(StrEnum):
    """What keeps the slow from holding up the quick: each has a queue, and slots in every worker."""

    SHARED = "shared"
    """The queue of all hosts' workers: takes deployments on, and what is quick; sends the rest on to its lane."""
    QUICK = "quick"
    """Lists, cancels, reads logs."""
    WORK = "work"
    """Whatever changes the engine, and the steps of deployments: they stay with one host."""
    PULLS = "pulls"
    """Pulls, which take as long as registries do."""

    def queue(self, namespace: str, host: str) -> str:
        """Its queue for the workers that serve this engine; no name has a `/`."""
        names = {Lane.SHARED: SHARED_QUEUE, Lane.WORK: f"dw.{namespace}.{host}"}
        return names.get(self, f"dw.{namespace}.{host}/{self}")


def _configuration(values: Settings) -> dict[str, object]:
    broker_url = values.broker_url or values.redis_url
    backend_url = values.result_backend or values.redis_url
    queues = [lane.queue(values.namespace, values.host) for lane in Lane]
    return {
        **address.connections(broker_url, backend_url),
        "broker_transport": f"worker.broker{'' if broker_url.startswith('redis') else '.rabbitmq'}:Transport",
        # Which refuses what no task should see.
        "worker_consumer": "worker.consumer:Consumer",
        # Engine calls are I/O: eight threads cost 70 MB, eight processes 520. Threads know no time limits,
        # so each engine call and each step has a deadline of its own.
        "worker_pool": "threads",
        "worker_concurrency": values.threads,
        # Left to itself, Celery binds each of them to what is sent to the shared one by an exchange.
        "task_queues": [Queue(name, routing_key=name) for name in queues],
        "task_default_queue": SHARED_QUEUE,
        # A message is acknowledged when its work is done, so a killed worker's comes back: each task can run twice.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "slots": {lane.queue(values.namespace, values.host): _slots(values, lane) for lane in Lane},
            "message_bytes": values.message_bytes,
            **(_leases(values) if broker_url.startswith("redis") else address.PATIENCE),
        },
        "beat_schedule": {
            "prune": {
                "task": "docker.prune",
                "schedule": values.prune_seconds,
                "options": {
                    "queue": Lane.WORK.queue(values.namespace, values.host),
                    "expires": values.prune_seconds,
                    "ignore_result": True,
                },
            }
        },
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _leases(values: Settings) -> dict[str, object]:
    # A message is its worker's while that renews its lease (worker.broker), however long it works or waits with it;
    # a killed worker's is given out again a lease and a sweep later, 18 s by default. Kombu by itself sweeps every
    # 100 s; and a worker that is killed while it sweeps bars the others from it for the mutex' time, which is
    # kombu's 300 s else.
    return {
        # Kombu's 10 are fewer than the threads that may acknowledge at once.
        "max_connections": values.threads + 10,
        "numbered": numbered_by_broker(values),
        "visibility_timeout": values.lease_seconds,
        "unacked_restore_interval": values.lease_seconds / 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": values.lease_seconds,
    }


def _slots(values: Settings, lane: Lane) -> int:
    # A message that waits here for a retry's time has a slot as well; of the quick ones many may.
    return 8 * QUICK_THREADS if lane in {Lane.SHARED, Lane.QUICK} else values.concurrency


def _settings_or_exit() -> Settings:
    try:
        return settings()
    except SettingsInvalid as error:
        sys.exit(str(error))


app = Celery("docker-watcher", include=["worker.process", "tasks"])
app.loader.override_backends = dict.fromkeys(("redis", "rediss"), "worker.backend:Backend")
app.conf.update(_configuration(_settings_or_exit()))
beat_init.connect(sign_what_is_sent)


def _is_flower() -> bool:
    """Whether `celery … flower` is what loads this; its command line has Flower imported, whatever it is to do."""
    if "flower.command" not in sys.modules:
        return False
    import click  # noqa: PLC0415  # the command line has it, and nobody else needs it

    context = click.get_current_context(silent=True)
    return context is not None and context.invoked_subcommand == "flower"


if _is_flower():
    from worker.flower import prepare

    prepare(app)
