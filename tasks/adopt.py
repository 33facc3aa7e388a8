"""Adopting what serves without a record, as after the loss of Redis: its labels tell what it is and what was before."""

from collections.abc import Collection, Iterator, Sequence

import structlog
from pydantic import ValidationError

from tasks.standings import standings_of
from worker import plan
from worker.engine import Listed, engine
from worker.errors import ContainerNotFound, CredentialMissing
from worker.kept import kept_previous, kept_spec
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
    """What a container keeps for its adoption in labels, which many programs read: sealed, or nothing at all.

    `older` are the stage's other containers, newest first.
    """
    if not keyring().has_keys:
        return {}
    # Of a stage that was removed none is live, and its last version is the one to go back to.
    last = live_version(spec.where, older) or next(iter(deployments().lives(spec.where)), None)
    stage = (spec.project, spec.stage, deployment_id)
    asked = keyring().seal(spec.model_dump_json(exclude_defaults=True), plan.spec_purpose(*stage))
    before = last.model_dump_json(exclude_defaults=True) if last else ""
    return {Label.SPEC: asked, Label.PREVIOUS: before and keyring().seal(before, plan.previous_purpose(*stage))}


def _serving(containers: Sequence[Listed], recorded: Collection[str]) -> Iterator[Listed]:
    """Of each stage, the newest container that runs and isn't a candidate beside it, if it has no record."""
    seen = set()
    for each in containers:
        stage = engine().containers.labels.stage_of(each)
        if stage in seen or each.state != "running" or not _label(each, Label.SPEC):
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
    found = Found(
        instance_id=_label(container, Label.INSTANCE),
        image_id=container.image_id,
        digest=_label(container, Label.DIGEST) or None,
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


def _label(container: Listed, label: Label) -> str:
    return engine().containers.labels.get(container.labels, label)
