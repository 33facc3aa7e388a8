"""How a new version comes up: pulled, made, started and proven, beside what serves or in its place.

Every step can run twice, after a worker's death or a lost reply: it looks for what it has made already, by the
deployment-id label, and goes on from there.
"""

from collections.abc import Sequence

from tasks.adopt import sealed_labels
from tasks.connect import attach
from tasks.create import asked_container, instances_of, make, open_secrets
from tasks.deploy.instances import container_of, known, older_instances, older_than
from tasks.deploy.machine import Done, InLane, Wait, is_in, step
from tasks.deploy.move import hosts_with
from tasks.deploy.share import share
from tasks.evidence import not_proven, with_evidence
from tasks.pull import at_hand
from worker import plan
from worker.celery import Lane
from worker.engine import Container, ContainerSpec, Image, Listed, engine
from worker.errors import ContainerNotFound, EngineUnavailable, ImageNotFound, PortInUse
from worker.keyring import keyring
from worker.labels import Label
from worker.policy import policy
from worker.record import Claim, Found, Step
from worker.reference import ImageReference
from worker.settings import settings
from worker.store import credentials, pulled_images

_STARTS_BEFORE_MADE_AGAIN = 3

_MOST_PORTS_TRIED = 20

_MISSED_EVENT = 5.0
"""Seconds that an event costs which no worker has heard."""


@step(Step.PULL)
def pull(claim: Claim) -> Done | Wait | InLane:
    """Bring the image; from here on it is its digest, and then its id, wherever its tag moves.

    A rollback knows its id beforehand. Where the image is likely there already, this is first looked for in the lane of
    the steps that follow.
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
    if not is_in(Lane.PULLS):
        return InLane(Lane.PULLS)
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
    pulled = found.image_id or reference.pinned(known(found.digest))
    image = engine().images.inspect(pulled, called=str(reference))
    if found.downloaded:
        pulled_images().note_pulled(image.id, reference.names_of(found.digest))
    pulled_images().note_used(image.id)
    return Done(_inspected(claim, image))


@step(Step.CREATE)
def create(claim: Claim) -> Done:
    """Make the container, unless one of the same image and arguments runs already."""
    spec, found, containers = claim.spec, claim.found, engine().containers
    marks = plan.fingerprints(keyring(), spec, known(found.image_id), settings().network, open_secrets(spec))
    instances = instances_of(spec)
    older, elsewhere = older_than(claim, instances), hosts_with(claim)
    plan.check_move(spec, elsewhere)
    # What another host serves is not what one that was left here is.
    twin = None if elsewhere else plan.live_twin(containers.labels, older, marks)
    if twin and not spec.force and (unchanged := _unchanged(claim, containers.inspect(twin.id))):
        return Done(unchanged, to=Step.REPORT)
    # Those of a run before this one are stopped by now.
    displaced = list(dict.fromkeys([*found.displaced, *(each.id for each in plan.displaced(spec, older))]))
    made = make(spec, _candidate(claim, older, displaced, marks[0]), claim.id, instances)
    return Done(
        found.updated(
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
        attach(network.name, engine().containers.inspect(container_of(claim).id), aliases)
    return Done(claim.found)


@step(Step.START)
def start(claim: Claim) -> Done:
    """Start the container; one that the engine can't start, try as it may, is made again, once.

    So is one whose port to be kept somebody else has by now, with another port.
    """
    containers = engine().containers
    try:
        with with_evidence(container_of(claim)):
            started = containers.start(container_of(claim))
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
        kept = _kept_ports(containers.inspect(container_of(claim).id))
        if not kept or len(claim.found.ports_in_use) >= _MOST_PORTS_TRIED:
            raise
        return _made_again(claim, ports_in_use=[*claim.found.ports_in_use, *kept])
    return Done(claim.found.updated(started_at=started.started_at, ports=dict(started.ports)))


@step(Step.PROVE)
def prove(claim: Claim) -> Done | Wait:
    """See whether the container is healthy, or runs stably; in between no thread waits, but for the engine's events."""
    asked, containers = claim.spec.health, engine().containers
    running_for = claim.elapsed
    container = containers.inspect(container_of(claim).id)
    if container.state == "running" and container.started_at != claim.found.started_at:
        # It had ended, and a call that came late has started it again: its time to prove itself begins anew.
        return Done(claim.found, to=Step.START)
    stable = settings().stable_seconds if asked.stable is None else asked.stable
    verdict = plan.verdict(container, stable=stable, running_for=running_for)
    if verdict in {"healthy", "running"}:
        return Done(claim.found.updated(health=verdict, ports=dict(container.ports)))
    if verdict == "failed" and is_forgiven(claim, container):
        return started_again(claim)
    timeout = asked.timeout or settings().health_timeout
    # Without HEALTHCHECK there is nothing to be late: how long it must run is what ends the wait.
    time_decides_in = (stable if container.health is None else timeout) - running_for
    if verdict is None and time_decides_in > 0:
        return Wait(min(time_decides_in, claim.time_left, _MISSED_EVENT))
    raise not_proven(claim.spec, container, verdict, timeout)


def started_again(claim: Claim) -> Done:
    # The engine may have brought back by now what had to make room.
    to = Step.DISPLACE if claim.found.displaced else Step.START
    return Done(claim.found.updated(started_again=True), to=to)


def is_forgiven(claim: Claim, container: Container) -> bool:
    """Whether a candidate that has ended gets another start: it may have gone down with the engine."""
    return plan.was_killed(container) and not claim.found.started_again


def _candidate(claim: Claim, older: Sequence[Listed], displaced: Sequence[str], mark: str) -> ContainerSpec:
    spec, found = claim.spec, claim.found
    container = asked_container(
        spec,
        claim.id,
        image_id=known(found.image_id),
        digest=found.digest,
        exposed=found.exposed,
        tried=found.ports_in_use,
    )
    return plan.candidate(
        container,
        name=plan.choose_name(container.name, older, claim.id),
        labels=engine().containers.labels,
        mark=mark,
        remembered={**sealed_labels(spec, claim.id, older), Label.DISPLACED: ",".join(displaced)},
        withhold_aliases=bool(older),
    )


def _at_hand(claim: Claim, image: Image) -> Done:
    pulled_images().note_used(image.id)
    return Done(_inspected(claim, image), to=Step.CREATE)


def _inspected(claim: Claim, image: Image) -> Found:
    # The digest that was pulled, where one was: the engine may know the image by several.
    digest = claim.found.digest or image.digest
    return claim.found.updated(image_id=image.id, digest=digest, exposed=list(image.ports))


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


def _made_again(claim: Claim, **found: object) -> Done:
    engine().containers.remove(container_of(claim), force=True)
    return Done(claim.found.updated(container_id=None, container_name=None, **found), to=Step.CREATE)


def _kept_ports(container: Container) -> list[int]:
    return [int(port) for port in engine().containers.labels.values_of(container, Label.KEPT_PORTS)]
