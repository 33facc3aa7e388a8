"""What is asked for: orders drawn from a seed, and the clients that send them."""

import threading
import uuid
from dataclasses import dataclass, field

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

PROJECT = "shop"
GOOD = ("good:v1", "good:v2", "good:v3", "plain:v1")
# What an image that can't run ends as.
BROKEN = {"exits:v1": "StartFailed", "nocommand:v1": "StartFailed", "unhealthy:v1": "Unhealthy"}
KINDS = {"new": 50, "broken": 20, "repeat": 12, "force": 8, "burst": 10}
BURST = 5
# What the first stages ask for; the rest, nothing of it.
HABITS = (
    {"strategy": "stop-first"},
    {"keep": 2},
    {},
    {"volumes": {"data": {"path": "/data", "exclusive": True}}},
)
HOOKED = {"stage2", "stage3"}


@dataclass(frozen=True)
class Order:
    """One deployment that is asked for."""

    id: str
    stage: str
    image: str
    pause: float
    """Seconds before it is sent."""
    more: dict = field(default_factory=dict)

    @property
    def is_good(self):
        return self.image in GOOD


def draw(rng, count, stages, pace):
    """Orders of all kinds, `pace` seconds apart on average."""
    names = [f"stage{number}" for number in range(stages)]
    habits = dict(zip(names, HABITS, strict=False))
    last = dict.fromkeys(names, GOOD[0])
    orders = []
    while len(orders) < count:
        stage = rng.choice(names)
        (kind,) = rng.choices([*KINDS], [*KINDS.values()])
        for image in _images(rng, kind, last[stage]):
            more = {**habits.get(stage, {}), **({"force": True} if kind == "force" else {})}
            # Those of a burst come at once.
            pause = 0 if kind == "burst" else rng.uniform(0, 2 * pace)
            orders.append(Order(str(uuid.UUID(int=rng.getrandbits(128))), stage, image, pause, more))
            if image in GOOD:
                last[stage] = image
    return orders[:count]


def _images(rng, kind, last):
    if kind == "burst":
        return rng.choices([*GOOD, *BROKEN], k=BURST)
    return [{"new": rng.choice(GOOD), "broken": rng.choice([*BROKEN]), "repeat": last, "force": last}[kind]]


class Producers:
    """Threads that send orders as any program would, which tries again while Redis is away."""

    def __init__(self, orders, redis_url, count, arguments_of):
        self._redis_url = redis_url
        self._arguments_of = arguments_of
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, args=(orders[each::count],)) for each in range(count)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join()

    def stop(self):
        self._stopping.set()
        self.join()

    def _send_all(self, orders):
        client = Celery(broker=self._redis_url, backend=self._redis_url, set_as_current=False)
        for order in orders:
            self._stopping.wait(order.pause)
            while not self._stopping.is_set() and not self._is_sent(client, order):
                self._stopping.wait(0.2)
        client.close()

    def _is_sent(self, client, order):
        """Send it once more under the same id, should it not be certain that it was sent."""
        try:
            client.send_task(
                "docker.deploy",
                kwargs=self._arguments_of(order),
                task_id=order.id,
                retry=False,
                # The sender doesn't wait for results; else Celery would listen for each, and fail with Redis for 19 s.
                ignore_result=True,
            )
        except (OperationalError, RedisError):
            return False
        return True
