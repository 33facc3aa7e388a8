"""What there is to see from outside when all is over: Redis' keys, and the engine's containers."""

import json
from dataclasses import dataclass, field

LABEL = "docker-watcher."


@dataclass
class Scene:
    """The state of an installation at a moment."""

    records: dict[str, dict] = field(default_factory=dict)
    results: dict[str, dict] = field(default_factory=dict)
    containers: list[dict] = field(default_factory=list)
    """All managed ones, as the engine's inspect has them."""
    foreign: list[dict] = field(default_factory=list)
    stages: dict[str, dict] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    messages: dict[str, list] = field(default_factory=dict)
    """Those in queues, and those that nobody has acknowledged."""
    led_to: dict[str, str] = field(default_factory=dict)
    """By stage: the id of the container that its cut-over hook was told of last."""

    def is_quiet(self, orders):
        return (
            all(self.records.get(order.id, {}).get("step") == "ended" for order in orders)
            and all(each["State"]["Status"] == "running" for each in self.containers)
            and not (any(self.messages.values()) or self.alarms)
        )


def look(redis, engine, namespace, foreign_ids):
    prefix = f"dw:{namespace}:"

    def hashes(kind):
        keys = redis.scan_iter(f"{prefix}{kind}:*", count=1000, _type="HASH")
        return {key.removeprefix(f"{prefix}{kind}:"): redis.hgetall(key) for key in keys}

    queues = ("celery", f"dw.{namespace}.local")
    # The queues first: a message that is taken meanwhile is seen twice then, and not never.
    messages = {queue: redis.lrange(queue, 0, -1) for queue in queues}
    messages["unacked"] = list(redis.hgetall("dw.unacked").values())
    return Scene(
        records=hashes("deployment"),
        results={
            key.removeprefix("celery-task-meta-"): json.loads(redis.get(key) or "{}")
            for key in redis.scan_iter("celery-task-meta-*", count=1000)
        },
        containers=_inspected(engine, {"label": f"{LABEL}namespace={namespace}"}),
        foreign=_inspected(engine, {"id": foreign_ids}),
        stages=hashes("stage"),
        alarms=redis.zrange(f"{prefix}alarms:local", 0, -1),
        messages=messages,
    )


def _inspected(engine, filters):
    return [engine.inspect_container(each["Id"]) for each in engine.containers(all=True, filters=filters)]
