"""How a failed deployment is undone: what it made goes, and what it stopped or took from others is theirs again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from tasks.connect import detach
from tasks.cutover import cut_over, instance_of
from tasks.deploy import outcome
from tasks.deploy.instances import older_instances, own_containers
from tasks.deploy.machine import MOST_ATTEMPTS, Done, check_bounds, step
from tasks.deploy.move import instance_elsewhere
from worker import plan
from worker.engine import Listed, engine, is_half_started
from worker.errors import ContainerNotFound, CutoverFailed, DeploymentError, EngineUnavailable
from worker.record import Claim, Step
from worker.results import Instance
from worker.settings import settings
from worker.spec import Cutover
from worker.store import deployments

log = structlog.get_logger()


@step(Step.REVERT)
def revert(claim: Claim) -> Done:
    """Lead what may have come to this deployment's container back to the older one, before that container goes."""
    containers = engine().containers
    with _told_in_time(claim):
        if claim.found.displaced:
            _restore(claim)
        check_bounds(claim)
        older = next((each for each in older_instances(claim) if each.state == "running"), None)
        if claim.spec.cutover and (older or claim.found.moves_from):
            back_to = instance_of(containers.inspect(older.id)) if older else instance_elsewhere(claim)
            if back_to:
                _lead_back(claim, claim.spec.cutover, back_to)
        # After that, as its ports are others then.
        for each in own_containers(claim):
            check_bounds(claim)
            with suppress(ContainerNotFound):
                detach(containers.inspect(each.id), claim.found.withheld_aliases)
    return Done(claim.found, pause=0 if claim.found.displaced else settings().drain_seconds)


@step(Step.UNDO)
def undo(claim: Claim) -> Done:
    """Remove what this deployment made, start again what it stopped, and give back a name that it took."""
    containers = engine().containers
    with _told_in_time(claim):
        _restore(claim)
        check_bounds(claim)
        for each in older_instances(claim):
            lost = plan.lost_name(each, containers.labels.deployment_of(each))
            if lost and not containers.find_named(lost):
                containers.rename(each, lost)
    return Done(claim.found)


@contextmanager
def _told_in_time(claim: Claim) -> Iterator[None]:
    try:
        yield
    except DeploymentError:
        if claim.attempt >= MOST_ATTEMPTS:
            # Whoever asked has waited long enough; this is tried again until the engine is back.
            outcome.store(claim)
        raise


def _lead_back(claim: Claim, hook: Cutover, older: Instance) -> None:
    try:
        cut_over(hook, older, "reverted")
    except CutoverFailed as error:
        if error.retryable and claim.attempt < MOST_ATTEMPTS:
            raise
        log.warning("not_led_back", error=error.message)
        # So that reconciling finds them changed, and asks until the hook agrees.
        deployments().note_ports(older.deployment_id, {})


def _restore(claim: Claim) -> None:
    """Remove what this deployment made, found by its label, and start again what had to make room for it."""
    containers = engine().containers
    for each in own_containers(claim):
        containers.remove(each, force=True)
    older = older_instances(claim)
    restored = {containers.labels.deployment_of(each) for each in older if each.id in claim.found.displaced}
    for each in older:
        if each.id in claim.found.displaced:
            check_bounds(claim)
            try:
                containers.set_restart_policy(each, containers.labels.restart_policy_of(each))
                _start_displaced(claim, each)
            except DeploymentError as error:
                # The stage is kept from a version that would start, as long as this is tried.
                if error.retryable or claim.attempt < MOST_ATTEMPTS:
                    raise
                log.warning("container_not_started_again", container=each.name, error=error.message)
        elif containers.labels.deployment_of(each) in restored:
            # The one that it was made anew in place of, or one that was made and not noted. Who has lost the step would
            # take what serves by now for that.
            check_bounds(claim)
            containers.remove(each, force=True)


def _start_displaced(claim: Claim, container: Listed) -> None:
    """Start it again; one that the engine has lost track of is made anew for a further attempt to start."""
    containers = engine().containers
    try:
        containers.start(container)
    except EngineUnavailable as error:
        if is_half_started(error):
            deployment_id = containers.labels.deployment_of(container)
            made = containers.make_anew(container, plan.temporary_name(container.name, deployment_id))
            noted = deployments().note_made_anew(claim, deployment_id, container.id, made)
            log.warning("container_made_anew", container=container.name, noted=noted, error=error.message)
        raise
