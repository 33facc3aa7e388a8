"""`docker.stage`: stop, restart or remove all containers of a stage, when no deployment is at it.

Such an order has a record and waits for its stage like a deployment, so that the last one asked for wins. Its step
deals with one container at a time, each under a claim of its own: what is done is not done again after a worker's
death, and a cancel ends it at the next container.
"""

from collections.abc import Callable
from contextlib import suppress

from tasks import ports, remove, restart, stop
from tasks.base import Result, checked
from tasks.create import instances_of
from tasks.deploy.accept import Acceptance, accept
from tasks.deploy.machine import Done, step
from worker import plan
from worker.celery import app
from worker.engine import ContainerRef, engine
from worker.errors import ContainerNotFound
from worker.labels import Label
from worker.record import Claim, Step
from worker.spec import StageOrder


class RemovedContainer(Result):
    container_id: str
    container_name: str


@app.task(name="docker.stage", base=Acceptance, bind=True)
def stage(self: Acceptance, /, *positional: object, **arguments: object) -> str:
    """Accept an order to a stage; a second run finds it recorded."""
    order = checked(StageOrder, "docker.stage", positional, arguments)
    return accept(self, lambda: (order, None))


@step(Step.STOP)
def stop_all(claim: Claim) -> Done:
    """Stop the newest first: no engine starts again what a person stopped."""
    return _next(claim, _stop)


@step(Step.RESTART)
def restart_all(claim: Claim) -> Done:
    """Restart the oldest first, so that the newest, which serves, is interrupted when the others are back."""
    return _next(claim, _restart)


@step(Step.REMOVE)
def remove_all(claim: Claim) -> Done:
    """Remove the oldest first: one that is broken off costs what serves last."""
    return _next(claim, _remove)


def _next(claim: Claim, act: Callable[[Claim, ContainerRef], Result]) -> Done:
    found = claim.found
    if not found.left:
        return Done(found.updated(left=_containers_of(claim.order)), to=claim.step)
    (first, *_) = found.left
    left = {each: name for each, name in found.left.items() if each != first}
    try:
        containers = [
            *found.containers,
            act(claim, ContainerRef(first, found.left[first])).model_dump(mode="json"),
        ]
    except ContainerNotFound:
        containers = found.containers  # it vanished meanwhile
    return Done(found.updated(left=left, containers=containers), to=claim.step if left else None)


def _containers_of(order: StageOrder) -> dict[str, str]:
    labels, found = engine().containers.labels, instances_of(order)
    plan.check_order(order, found)
    if order.action == "restart":
        # Those that made room for another one, and are kept, can't run beside it.
        displaced = {each for other in found for each in labels.values_of(other, Label.DISPLACED)}
        found = [each for each in found if each.id not in displaced]
    return {each.id: each.name for each in (found if order.action == "stop" else reversed(found))}


def _stop(claim: Claim, container: ContainerRef) -> Result:
    engine().containers.set_restart_policy(container, "no")
    return stop.stop(stop.StopArguments(container=container.id, timeout=claim.order.timeout))


def _restart(claim: Claim, container: ContainerRef) -> Result:
    containers = engine().containers
    containers.set_restart_policy(container, containers.labels.restart_policy_of(containers.managed(container.id)))
    restarted = restart.restart(stop.StopArguments(container=container.id, timeout=claim.order.timeout))
    ports.follow(containers.inspect(container.id), holder=claim.id)
    return restarted


def _remove(claim: Claim, container: ContainerRef) -> Result:
    if claim.order.force:
        # By its own signal first. One that is gone is what was asked for.
        with suppress(ContainerNotFound):
            stop.stop(stop.StopArguments(container=container.id, timeout=claim.order.timeout))
    remove.remove(remove.RemoveArguments(container=container.id, force=claim.order.force))
    return RemovedContainer(container_id=container.id, container_name=container.name)
