"""What Celery stands for: messages that may be lost, doubled and late, and the results that callers see."""

from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import SimpleNamespace

_DELAY = 0.02
_LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class Message:
    """A task to be run."""

    task: str
    id: str
    arguments: dict = field(default_factory=dict)
    retries: int = 0
    queue: str | None = None
    """One of a host's own; any host's workers take it unless given."""

    @property
    def host(self):
        """Whose workers it is for, where not for all."""
        return self.queue.split(".", 2)[2].partition("/")[0] if self.queue else None

    @property
    def name(self):
        return self.task

    def request(self, hostname):
        """What the task sees as its request."""
        return {
            "id": self.id,
            "task": self.task,
            "args": [],
            "kwargs": self.arguments,
            "retries": self.retries,
            "hostname": hostname,
            "called_directly": False,
            "is_eager": False,
            "delivery_info": {"exchange": "", "routing_key": self.queue} if self.queue else {},
        }


class Broker:
    """Queues. A message goes to any process of its host, sooner or later, or never."""

    def __init__(self, world):
        self._world = world
        self._ids = count(1)
        self._losses = 0
        self.delivered = []

    def send_task(self, name, args=None, kwargs=None, countdown=0, task_id=None, retries=0, **options):  # as in Celery
        assert not args, "tasks take named arguments"
        queue = options.get("queue") or options.get("routing_key")
        message = Message(name, task_id or f"m{next(self._ids)}", kwargs or {}, retries, queue)
        self._world.effect("broker", ("send", name, *message.arguments.values()), lambda: self.put(message, countdown))
        return SimpleNamespace(id=message.id)

    def put(self, message, countdown=0):
        world, random = self._world, self._world.random
        calm = world.weather.cleared_up
        if not calm and random.random() < world.weather.lost:
            world.story.tell("broker", (message.task, message.id, *message.arguments.values()), "lost")
            return
        copies = 2 if not calm and random.random() < world.weather.doubled else 1
        for _ in range(copies):
            late = not calm and random.random() < world.weather.late
            delay = random.uniform(0, _LONGEST_DELAY if late else _DELAY)
            world.scheduler.after((countdown or 0) + delay, partial(self._deliver, message, self._losses))

    def put_back(self, message, seconds):
        """Deliver a message that was taken, and not seen to."""
        self._world.scheduler.after(seconds, partial(self._deliver, message, self._losses))

    def _deliver(self, message, losses):
        if losses == self._losses:
            self._world.deliver(message)

    def lose(self):
        """Lose what waits to be delivered."""
        self._losses += 1
        self.delivered.clear()


class Results:
    """The result backend, which keeps a success whatever comes after it, as Celery's do."""

    def __init__(self, world):
        self._world = world
        self.stored = {}

    def store_result(self, task_id, result, state, **_):
        self._world.effect("results", ("result", task_id, state), lambda: self._store(task_id, result, state))
        return result

    def get_task_meta(self, task_id):
        state, result = self.stored.get(task_id, ("PENDING", None))
        return {"status": state, "result": result}

    def _store(self, task_id, result, state):
        if self.stored.get(task_id, (None,))[0] != "SUCCESS":
            self.stored[task_id] = (state, result)
