"""Adopting what serves without a record, as after the loss of Redis: its labels tell what it is and what was before."""

from collections.abc import Collection, Iterator, Sequence

import structlog
from pydantic import ValidationError

from tasks.standings import standings_of
from worker import plan
from worker.engine import Listed, engine
from worker.errors import ContainerNotFound, CredentialMissing
from worker.kept import kept_labels, kept_previous, kept_spec
from worker.keyring import keyring
from worker.labels import Label
from worker.record import Found, Version
from worker.spec import DeploymentSpec
from worker.store import deployments

log = structlog.get_logger()


def adopt(containers: Sequence[Listed]) -> list[str]:
    """Record what serves without a record, and the version before it, and return the containers' names.

    `containers` are all those of a stage, or of several, newest first. A second run finds less to adopt, or nothing.
    """
    return [each.name for each in _serving(containers, standings_of(containers)) if _adopt(each)]


def reclaim(containers: Sequence[Listed]) -> list[str]:
    """Have what serves be live again in a stage that is live nowhere: this host was given up, and is back.

    `containers` are as for `adopt`. Returns the names of those that are.
    """
    labels, standings = engine().containers.labels, standings_of(containers)
    newest = {labels.stage_of(each): each for each in reversed(containers) if each.state == "running"}
    lacking = deployments().lacking(sorted(newest))
    return [
        each.name
        for stage, each in newest.items()
        if stage in lacking
        and (standing := standings.get(_deployment_of(each)))
        and standing.went_live
        and standing.container_id == each.id
        and deployments().reclaim(_deployment_of(each), stage)
    ]


def live_version(stage: str, containers: Sequence[Listed]) -> Version | None:
    """The version that was live last, adopted from among a stage's containers where no record tells."""
    live = deployments().live(stage)
    if live is None and adopt(containers):
        live = deployments().live(stage)
    return live


def sealed_labels(spec: DeploymentSpec, deployment_id: str, older: Sequence[Listed]) -> dict[Label, str]:
    """What a container keeps for its adoption in labels: sealed, or nothing at all where there is no key.

    `older` are the stage's other containers, newest first.
    """
    if not keyring().has_keys:
        return {}
    # Of a stage that was removed none is live, and its last version is the one to go back to.
    last = live_version(spec.where, older) or next(iter(deployments().lives(spec.where)), None)
    return kept_labels(spec, deployment_id, last)


def _serving(containers: Sequence[Listed], recorded: Collection[str]) -> Iterator[Listed]:
    """Of each stage, the newest container that runs and isn't a candidate beside it, if it has no record."""
    labels = engine().containers.labels
    seen = set()
    for each in containers:
        stage = labels.stage_of(each)
        if stage in seen or each.state != "running" or not labels.value_of(each, Label.SPEC):
            continue
        if _deployment_of(each) in recorded:
            is_candidate = plan.has_temporary_name(each, _deployment_of(each))
        elif not (is_candidate := not _was_promoted(each)):
            yield each
        if not is_candidate:
            seen.add(stage)


def _was_promoted(container: Listed) -> bool:
    try:
        return plan.was_promoted(engine().containers.labels, engine().containers.inspect(container.id))
    except ContainerNotFound:
        return False


def _adopt(container: Listed) -> bool:
    try:
        spec = kept_spec(container)
    except (CredentialMissing, ValidationError) as error:
        log.warning("not_adopted", container=container.name, error=str(error))
        return False
    labels = engine().containers.labels
    found = Found(
        instance_id=labels.value_of(container, Label.INSTANCE),
        image_id=container.image_id,
        digest=labels.value_of(container, Label.DIGEST) or None,
        container_id=container.id,
        container_name=container.name,
        ports=dict(container.ports),
    )
    return deployments().adopt(_deployment_of(container), spec, found, container.created, _known_previous(container))


def _known_previous(container: Listed) -> Version | None:
    try:
        return kept_previous(container)
    except (CredentialMissing, ValidationError) as error:
        log.warning("previous_not_adopted", container=container.name, error=str(error))
        return None


def _deployment_of(container: Listed) -> str:
    return engine().containers.labels.deployment_of(container)
