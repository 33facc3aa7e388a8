"""`docker.rollback`: deploy again what was live before, by its digest and with the arguments it had."""

from tasks.adopt import live_version
from tasks.base import MOST_RETRIES, came_by_shared_queue, checked, send_on, try_later
from tasks.create import instances_of
from tasks.deploy.accept import Acceptance, accept
from worker import plan
from worker.celery import Lane, app
from worker.engine import engine
from worker.errors import Transient
from worker.listing import told_by_others
from worker.record import Version
from worker.settings import settings
from worker.signature import check_stage
from worker.spec import LIVE_BEFORE, DeploymentSpec, RollbackArguments, parse
from worker.store import deployments, hosts
from worker.version import VERSION


@app.task(name="docker.rollback", base=Acceptance, bind=True)
def rollback(self: Acceptance, /, *positional: object, **arguments: object) -> str:
    """Accept a deployment of the version to go back to; a second run finds it recorded, whatever is live by then."""
    asked = checked(RollbackArguments, "docker.rollback", positional, arguments)
    # Before the engine is asked what is there.
    check_stage(asked.where)
    if came_by_shared_queue(self):
        _send_to_its_host(self, asked.where)

    def choose() -> tuple[DeploymentSpec, Version]:
        try:
            version = _target(asked)
        except Transient as error:
            if self.request.retries >= MOST_RETRIES:
                raise
            try_later(self, error)
        return parse(DeploymentSpec, "docker.rollback", plan.rollback_arguments(version), LIVE_BEFORE), version

    return accept(self, choose)


def _send_to_its_host(task: Acceptance, stage: str) -> None:
    """Have a host that is there, and has the stage, choose: without a record it knows best what was live."""
    host = deployments().home(stage)
    if host not in {None, settings().host} and host not in hosts().away():
        send_on(task, Lane.QUICK, str(host))


def _target(asked: RollbackArguments) -> Version:
    found = instances_of(asked)
    live = live_version(asked.where, found)
    # One whose container somebody removed is the first to go back to.
    elsewhere = {each.deployment_id for each in told_by_others([asked.where])}
    is_there = live and live.deployment_id in {*map(engine().containers.labels.deployment_of, found), *elsewhere}
    return plan.rollback_target(asked, _known_lives(asked.where), live if is_there else None)


def _known_lives(stage: str) -> list[Version]:
    # Deployed again by this worker, one that asks for what it doesn't know would be another.
    return [each for each in deployments().lives(stage) if each.needs <= VERSION]
