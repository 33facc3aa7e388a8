"""What each step of a deployment does, in their order.

Every step can run twice, after a worker's death or a lost reply: it looks for what it has made already, by the
deployment-id label, and goes on from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from tasks.adopt import sealed_labels
from tasks.connect import attach, detach
from tasks.create import asked_container, instances_of, make, open_secrets, wanted_name
from tasks.cutover import cut_over, instance_of, say_retired
from tasks.deploy import outcome
from tasks.deploy.instances import older_instances, older_than, retire_all
from tasks.deploy.machine import MOST_ATTEMPTS, Done, Wait, check_bounds, step
from tasks.deploy.move import hosts_with, instance_elsewhere, tell_others
from tasks.deploy.share import share
from tasks.evidence import not_proven, with_evidence
from tasks.pull import at_hand
from tasks.stop import halt
from worker import metrics, plan, tracing
from worker.driver import send
from worker.engine import Container, ContainerRef, Image, Listed, engine, is_half_started
from worker.errors import ContainerNotFound, CutoverFailed, DeploymentError, EngineUnavailable, ImageNotFound, PortInUse
from worker.keyring import keyring
from worker.labels import Label
from worker.policy import policy
from worker.record import Claim, Found, Step
from worker.reference import ImageReference
from worker.results import Instance
from worker.settings import settings
from worker.spec import Cutover
from worker.store import credentials, deployments, pulled_images
from worker.store.reading import ending, success

log = structlog.get_logger()

_STARTS_BEFORE_MADE_AGAIN = 3
_MOST_PORTS_TRIED = 20
_MISSED_EVENT = 5.0
"""Seconds that an event costs which no worker has heard."""


@step(Step.EXPIRE)
def expire(claim: Claim) -> None:
    """Never got its stage: the bounds that are checked before each step have the error."""
    check_bounds(claim)


@step(Step.PULL)
def pull(claim: Claim) -> Done | Wait:
    """Bring the image; from here on it is its digest, and then its id, wherever its tag moves.

    A rollback knows its id beforehand.
    """
    known, reference = claim.found.image_id, ImageReference.parse(claim.spec.image)
    if known and (image := engine().images.find(known)):
        return _at_hand(claim, image)
    if known and not reference.digest:
        raise ImageNotFound(
            f"Pulling image {reference} failed: the engine no longer has it as it was, and no registry ever had it; "
            "deploy another one.",
            {"image": str(reference)},
        )
    if present := at_hand(reference, claim.spec.policy):
        return _at_hand(claim, present)
    credential = credentials().resolve(reference.registry, claim.spec.credential)
    shared = share(claim, reference, credential)
    if isinstance(shared, Image):
        return _at_hand(claim, shared)
    if isinstance(shared, Wait):
        return shared
    return Done(claim.found.updated(image_id=None, digest=shared.digest, downloaded=shared.downloaded))


@step(Step.INSPECT)
def inspect(claim: Claim) -> Done:
    """Read which image it is, and what it exposes."""
    reference, found = ImageReference.parse(claim.spec.image), claim.found
    # A record of an earlier version of this code has the id already.
    pulled = found.image_id or reference.pinned(_known(found.digest))
    image = engine().images.inspect(pulled, called=str(reference))
    if found.downloaded:
        pulled_images().note_pulled(image.id, reference.names_of(found.digest))
    pulled_images().note_used(image.id)
    return Done(_inspected(claim, image))


@step(Step.CREATE)
def create(claim: Claim) -> Done:
    """Make the container, unless one of the same image and arguments runs already."""
    spec, found, containers = claim.spec, claim.found, engine().containers
    marks = plan.fingerprints(keyring(), spec, _known(found.image_id), settings().network, open_secrets(spec))
    instances = instances_of(spec)
    older, elsewhere = older_than(claim, instances), hosts_with(claim)
    plan.check_move(spec, elsewhere)
    # What another host serves is not what one that was left here is.
    twin = None if elsewhere else plan.live_twin(containers.labels, older, marks)
    if twin and not spec.force and (unchanged := _unchanged(claim, containers.inspect(twin.id))):
        return Done(unchanged, to=Step.REPORT)
    # Those of a run before this one are stopped by now.
    displaced = list(dict.fromkeys([*found.displaced, *(each.id for each in plan.displaced(spec, older))]))
    container = asked_container(
        spec,
        claim.id,
        image_id=_known(found.image_id),
        digest=found.digest,
        exposed=found.exposed,
        tried=found.ports_in_use,
    )
    candidate = plan.candidate(
        container,
        name=plan.choose_name(container.name, older, claim.id),
        labels=containers.labels,
        mark=marks[0],
        remembered={**sealed_labels(spec, claim.id, older), Label.DISPLACED: ",".join(displaced)},
        withhold_aliases=bool(older),
    )
    made = make(spec, candidate, claim.id, instances)
    return Done(
        claim.found.updated(
            instance_id=spec.instance_id or claim.id,
            container_id=made.id,
            container_name=made.name,
            withheld_aliases=spec.aliases if older else [],
            displaced=displaced,
            moves_from=elsewhere,
        )
    )


@step(Step.CONNECT)
def connect(claim: Claim) -> Done:
    """Put the container on the further network, where one is asked for."""
    if claim.spec.network:
        policy().check_network(claim.spec.network, claim.spec.where, claim.spec.aliases)
        network = engine().networks.get(claim.spec.network)
        aliases = [] if claim.found.withheld_aliases else claim.spec.aliases
        attach(network.name, engine().containers.inspect(_container(claim).id), aliases)
    return Done(claim.found)


@step(Step.DISPLACE)
def displace(claim: Claim) -> Done:
    """Stop the older instances that the new one can't run beside."""
    for each in older_instances(claim):
        if each.id in claim.found.displaced:
            check_bounds(claim)
            halt(each)
    return Done(claim.found)


@step(Step.START)
def start(claim: Claim) -> Done:
    """Start the container; one that the engine can't start, try as it may, is made again, once.

    So is one whose port to be kept somebody else has by now, with another port.
    """
    containers = engine().containers
    try:
        with with_evidence(_container(claim)):
            started = containers.start(_container(claim))
    except (EngineUnavailable, ContainerNotFound) as error:
        # An engine that died while it started a container can have half of it left (`task …: already exists`).
        is_hopeless = isinstance(error, ContainerNotFound) or claim.attempt >= _STARTS_BEFORE_MADE_AGAIN
        if claim.found.made_again or not is_hopeless:
            raise
        return _made_again(claim, made_again=True)
    except PortInUse:
        if any(each.id in claim.found.displaced and each.state in plan.UP for each in older_instances(claim)):
            # An engine that has restarted has brought it back.
            return Done(claim.found, to=Step.DISPLACE)
        kept = _kept_ports(containers.inspect(_container(claim).id))
        if not kept or len(claim.found.ports_in_use) >= _MOST_PORTS_TRIED:
            raise
        return _made_again(claim, ports_in_use=[*claim.found.ports_in_use, *kept])
    return Done(claim.found.updated(started_at=started.started_at, ports=dict(started.ports)))


@step(Step.PROVE)
def prove(claim: Claim) -> Done | Wait:
    """See whether the container is healthy, or runs stably; in between no thread waits, but for the engine's events."""
    asked, containers = claim.spec.health, engine().containers
    running_for = claim.elapsed
    container = containers.inspect(_container(claim).id)
    if container.state == "running" and container.started_at != claim.found.started_at:
        # It had ended, and a call that came late has started it again: its time to prove itself begins anew.
        return Done(claim.found, to=Step.START)
    stable = settings().stable_seconds if asked.stable is None else asked.stable
    verdict = plan.verdict(container, stable=stable, running_for=running_for)
    if verdict in {"healthy", "running"}:
        return Done(claim.found.updated(health=verdict, ports=dict(container.ports)))
    if verdict == "failed" and _is_forgiven(claim, container):
        return _started_again(claim)
    timeout = asked.timeout or settings().health_timeout
    # Without HEALTHCHECK there is nothing to be late: how long it must run is what ends the wait.
    time_decides_in = (stable if container.health is None else timeout) - running_for
    if verdict is None and time_decides_in > 0:
        return Wait(min(time_decides_in, claim.time_left, _MISSED_EVENT))
    raise not_proven(claim.spec, container, verdict, timeout)


@step(Step.ALIAS)
def alias(claim: Claim) -> Done:
    """Give the proven container the aliases that an older instance holds: the engine's DNS hands out both by then."""
    container = _still_proven(claim)
    if container is None:
        return _started_again(claim)
    for network in filter(None, (settings().network, claim.spec.network)):
        check_bounds(claim)
        container = attach(network, container, claim.spec.aliases)
    return Done(claim.found.updated(ports=dict(container.ports)))


@step(Step.CUTOVER)
def cutover(claim: Claim) -> Done:
    """Have whoever is asked to repoint what leads to the stage, before anything old is touched."""
    if claim.spec.cutover:
        policy().check_hook(claim.spec.where, claim.spec.cutover.url)
        # It has that name once it is promoted.
        instance = outcome.of_claim(claim).model_copy(update={"container_name": wanted_name(claim.spec)})
        cut_over(claim.spec.cutover, instance, "deployed", claim.interrupt)
    return Done(claim.found)


@step(Step.PROMOTE)
def promote(claim: Claim) -> Done:
    """Give the proven container what it lacked as a candidate, and say which older ones go."""
    spec, containers, wanted = claim.spec, engine().containers, wanted_name(claim.spec)
    older = older_instances(claim)
    # Before it is looked at: an engine that restarts brings it back from now on, and left it where it was until now.
    containers.set_restart_policy(_container(claim), spec.restart)
    container = _still_proven(claim)
    if container is None:
        return _started_again(claim)
    if unnamable := [each.id for each in older if each.name == wanted and each.state == "restarting"]:
        # The engine can't rename one that waits for its next start. It serves nobody, so it is stopped.
        return Done(claim.found.updated(displaced=[*claim.found.displaced, *unnamable]), to=Step.DISPLACE)
    # Who hung on the engine until others were done with it would give them the names of long ago.
    check_bounds(claim)
    for each in older:
        if each.id in claim.found.displaced:
            # An engine that restarts would bring it back beside the new one, and may have.
            containers.set_restart_policy(each, "no")
            halt(each)
    if container.name != wanted:
        for each in older:
            if each.name == wanted:
                containers.rename(each, plan.temporary_name(wanted, containers.labels.deployment_of(each)))
        containers.rename(container, wanted)
    found = claim.found.updated(
        container_name=wanted,
        ports=dict(container.ports),
        replaced=[each.id for each in plan.surplus(older, spec.keep)],
    )
    # What the hook has led elsewhere may be in the middle of its requests.
    has_to_end = spec.cutover and found.replaces_what_serves
    return Done(found, pause=settings().drain_seconds if has_to_end else 0)


@step(Step.DRAIN)
def drain(claim: Claim) -> Done:
    """Take the aliases from the older instances that go, and let them end what they are at."""
    for each in older_instances(claim):
        if each.id in claim.found.replaced:
            check_bounds(claim)
            try:
                detach(engine().containers.inspect(each.id), claim.found.withheld_aliases)
            except DeploymentError as error:
                if error.retryable and claim.attempt < MOST_ATTEMPTS:
                    raise
                log.warning("aliases_not_taken", container=each.name, error=error.message)
    return Done(claim.found, pause=settings().drain_seconds)


@step(Step.RETIRE)
def retire(claim: Claim) -> Done:
    """Stop and remove the older instances that go; the new one serves, so this can't fail the deployment."""
    _, stayed = retire_all(claim, (each for each in older_instances(claim) if each.id in claim.found.replaced))
    gone = [each for each in claim.found.replaced if each not in stayed]
    return Done(claim.found.updated(replaced=gone, unretired=sorted(stayed)))


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
        for each in _own_containers(claim):
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


@step(Step.REPORT)
def report(claim: Claim) -> None:
    """Store the result, and give the stage to the deployment that waits for it."""
    tell_others(claim)
    outcome.store(claim)
    closed = deployments().close(claim)
    log.info("deployment_ended", error=claim.error and repr(claim.error), seconds=claim.found.seconds)
    if closed.is_first:
        result = ending(claim.error, success(claim.asked, claim.found))
        metrics.deployment_ended(claim, result)
        tracing.step_ended(claim, "done")
        tracing.deployment_ended(claim, result)
    if closed.due:
        send(closed.due)
    if claim.found.replaced and not claim.error and claim.spec.cutover:
        try:
            say_retired(claim.spec.cutover, outcome.of_claim(claim))
        except CutoverFailed as error:
            log.warning("retirement_not_told", error=error.message)


def _at_hand(claim: Claim, image: Image) -> Done:
    pulled_images().note_used(image.id)
    return Done(_inspected(claim, image), to=Step.CREATE)


def _inspected(claim: Claim, image: Image) -> Found:
    # The digest that was pulled, where one was: the engine may know the image by several.
    digest = claim.found.digest or image.digest
    return claim.found.updated(image_id=image.id, digest=digest, exposed=list(image.ports))


def _known(value: str | None) -> str:
    if value is None:
        raise AssertionError("an earlier step found this out")
    return value


def _container(claim: Claim) -> ContainerRef:
    return ContainerRef(_known(claim.found.container_id), _known(claim.found.container_name))


def _own_containers(claim: Claim) -> list[Listed]:
    containers, asked = engine().containers, claim.asked
    return containers.labelled(containers.labels.select(deployment=claim.id, project=asked.project, stage=asked.stage))


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
    for each in _own_containers(claim):
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


def _still_proven(claim: Claim) -> Container | None:
    """The proven container, or None where it was killed from outside and gets another start.

    Raises StartFailed or Unhealthy where it isn't what it was: the older ones go on serving.
    """
    container = engine().containers.inspect(_container(claim).id)
    if _is_forgiven(claim, container):
        return None
    # Where it was killed before, it has its restart policy by now, and may run again only by that.
    has_ended = container.state != "running" or container.restart_count
    if has_ended or container.health == "unhealthy":
        verdict = "failed" if has_ended else "unhealthy"
        raise not_proven(claim.spec, container, verdict, 0)
    return container


def _started_again(claim: Claim) -> Done:
    # The engine may have brought back by now what had to make room.
    to = Step.DISPLACE if claim.found.displaced else Step.START
    return Done(claim.found.updated(started_again=True), to=to)


def _made_again(claim: Claim, **found: object) -> Done:
    engine().containers.remove(_container(claim), force=True)
    return Done(claim.found.updated(container_id=None, container_name=None, **found), to=Step.CREATE)


def _kept_ports(container: Container) -> list[int]:
    return [int(port) for port in engine().containers.labels.values_of(container, Label.KEPT_PORTS)]


def _is_forgiven(claim: Claim, container: Container) -> bool:
    """Whether a candidate that has ended gets another start: it may have gone down with the engine."""
    return plan.was_killed(container) and not claim.found.started_again


def _unchanged(claim: Claim, twin: Container) -> Found | None:
    health = twin.health or twin.state
    if health not in {"healthy", "running"} or not plan.was_promoted(engine().containers.labels, twin):
        return None
    return claim.found.updated(
        unchanged=True,
        instance_id=engine().containers.labels.value_of(twin, Label.INSTANCE),
        container_id=twin.id,
        container_name=twin.name,
        ports=dict(twin.ports),
        health=health,
    )
