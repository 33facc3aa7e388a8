"""Whether the promises were kept: each breach of one, found in what is to be seen from outside."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass

from tests.chaos.orders import BROKEN
from tests.chaos.scene import LABEL

KINDS = ("lost", "orphans", "stuck", "duplicates", "wrong")
# What a deployment may end as that an engine's death befell: its container died twice, or no call came through.
OF_AN_OUTAGE = {"StartFailed", "Unhealthy", "EngineUnavailable"}


@dataclass(frozen=True)
class Breach:
    kind: str
    what: str


def judge(orders, scene, outages):
    """All breaches; `outages` are the times in which the engine was away."""
    return [
        *_of_deployments(orders, scene, outages),
        *_of_stages(orders, scene),
        *_of_leftovers(scene),
    ]


def ended(orders, scene):
    """How many deployments ended how."""
    return Counter(_outcome(scene.results[order.id]) for order in orders if order.id in scene.results)


def _outcome(result):
    value = result.get("result") or {}
    return value.get("state") if result.get("status") == "SUCCESS" else value.get("exc_type", result.get("status"))


def _of_deployments(orders, scene, outages):
    for order in orders:
        called = f"{order.id} ({order.image} to {order.stage})"
        record, result = scene.records.get(order.id), scene.results.get(order.id)
        if record is None:
            yield Breach("lost", f"{called} has no record")
        elif record["step"] != "ended":
            yield Breach("stuck", f"{called} is still at {record['step']}")
        elif result is None:
            yield Breach("lost", f"{called} has no result")
        elif problem := _problem(order, record, result, scene, outages):
            yield Breach("wrong", f"{called} {problem}")


def _problem(order, record, result, scene, outages):
    outcome = _outcome(result)
    expected = json.loads(record["error"])["type"] if record["error"] else ("live", "unchanged")
    if outcome not in expected:
        return f"ended as {outcome}, but its record says {expected}"
    if outcome == "DeploymentSuperseded":
        by = result["result"]["exc_message"][1]["by"]
        if by not in scene.records or _order(scene.records[by]) <= _order(record):
            return f"was superseded by {by}, which is no newer one"
        return None
    if outcome in _expected(order) or excused(order, scene, outages):
        return None
    return f"ended as {outcome}: {result['result']}"


def _expected(order):
    return {"live", "unchanged"} if order.is_good else {BROKEN[order.image]}


def excused(order, scene, outages):
    """Whether it ended otherwise than its image would have it, and the engine died while it was under way."""
    if order.id not in scene.records or order.id not in scene.results:
        return False
    record, outcome = scene.records[order.id], _outcome(scene.results[order.id])
    return (
        outcome in OF_AN_OUTAGE - _expected(order)
        and "ended" in record
        and any(float(record["created"]) < end and float(record["ended"]) > begin for begin, end in outages)
    )


def _order(record):
    """Its place in the order of receipt."""
    return float(record.get("order") or record["created"])


def _of_stages(orders, scene):
    found, succeeded = defaultdict(list), defaultdict(list)
    for container in scene.containers:
        found[container["Config"]["Labels"][f"{LABEL}stage"]].append(container)
    for order in orders:
        if scene.results.get(order.id, {}).get("status") == "SUCCESS" and order.id in scene.records:
            succeeded[order.stage].append(order)
    for stage in found.keys() | succeeded.keys():
        if not succeeded[stage]:
            yield from (Breach("orphans", f"{stage} has {_told(each)}") for each in found[stage])
            continue
        newest_first = sorted(succeeded[stage], key=lambda order: _order(scene.records[order.id]), reverse=True)
        # One that changed nothing has the container of the one before it.
        went_live = dict.fromkeys(_result(order, scene)["container_id"] for order in newest_first)
        staying = [*went_live][: newest_first[0].more.get("keep", 1)]
        yield from _of_stage(stage, found[stage], newest_first[0], _result(newest_first[0], scene), staying)
        led_to = scene.led_to.get(stage)
        if led_to is not None and led_to != staying[0]:
            yield Breach("wrong", f"the hook of {stage} leads to {led_to}, and {staying[0]} is live")


def _result(order, scene):
    """What came of a success, with the id that its container has by now: it may have been made anew since."""
    result = scene.results[order.id]["result"]
    # Of one that changed nothing, that is the deployment whose container it found.
    found = json.loads(scene.records[result["instance_id"]]["found"])
    return {**result, "container_id": found["container_id"]}


def _of_stage(stage, containers, newest, result, staying):
    live = [each for each in containers if each["Id"] == result["container_id"]]
    for each in containers:
        if each["Id"] not in staying:
            twin = any(_deployment(each) == _deployment(other) for other in live)
            yield Breach("duplicates" if twin else "orphans", f"{stage} has {_told(each)}")
    if not live:
        yield Breach("wrong", f"{stage} lacks the container of {newest.id}, its newest that succeeded")
        return
    (container,) = live
    seen = {
        "state": container["State"]["Status"],
        "name": container["Name"],
        "restart": container["HostConfig"]["RestartPolicy"]["Name"],
        "aliases": all(stage in each["Aliases"] for each in container["NetworkSettings"]["Networks"].values()),
    }
    wanted = {"state": "running", "name": f"/{result['container_name']}", "restart": "always", "aliases": True}
    if seen != wanted:
        yield Breach("wrong", f"{stage} has {_told(container)}: {seen}")


def _of_leftovers(scene):
    for stage, record in scene.stages.items():
        if held := [record[role] for role in ("running", "waiting") if record.get(role)]:
            yield Breach("stuck", f"{stage} is held by {held}")
    if scene.alarms:
        yield Breach("stuck", f"there are alarms for {scene.alarms}")
    for place, messages in scene.messages.items():
        if messages:
            yield Breach("stuck", f"there are {len(messages)} messages in {place}: {messages[0][:400]}")
    yield from (
        Breach("wrong", f"the foreign container {_told(each)} was touched")
        for each in scene.foreign
        if each["State"]["Status"] != "running" or each["RestartCount"]
    )
    if len(scene.foreign) != 2:
        yield Breach("wrong", "a foreign container is gone")


def _deployment(container):
    return container["Config"]["Labels"][f"{LABEL}deployment-id"]


def _told(container):
    return f"{container['Name']} of {_deployment_or_none(container)}, {container['State']['Status']}"


def _deployment_or_none(container):
    return container["Config"]["Labels"].get(f"{LABEL}deployment-id")
