"""`docker.reconcile`: compare this host's records and containers, and mend what doesn't fit.

Run by one worker of each host every `DW_RECONCILE_SECONDS`, and when a worker starts. It touches no container that
isn't managed here, none of a deployment that is under way, and none that is younger than `DW_RECONCILE_GRACE`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import structlog

from tasks.adopt import adopt, reclaim
from tasks.base import Result, operation
from tasks.ports import follow_changed_ports
from tasks.standings import standings_of
from tasks.stop import halt
from worker import metrics, plan
from worker.celery import Lane
from worker.engine import Listed, engine
from worker.errors import ContainerNotFound, DeploymentError
from worker.labels import Label
from worker.settings import settings
from worker.spec import Arguments
from worker.store import Moved, Standing, deployments, hosts

log = structlog.get_logger()


class ReconcileArguments(Arguments):
    pass


class ReconcileResult(Result):
    host: str
    containers: int
    """How many were looked at."""
    removed: list[str]
    """Names of containers whose deployment had ended without them, or had replaced them."""
    failed: list[str]
    """Names of those that could not be removed, and are tried again the next time."""
    restored: list[str]
    """Names of those that had to make room for a deployment which has no record any more, or was ended while this host
    was away, and run again."""
    adopted: list[str]
    """Names of containers that serve and had no record, as after the loss of Redis, or whose host was given up."""
    released: list[str]
    """Ids of deployments that held a stage, or its place to wait, and had ended or had no record."""
    resumed: list[str]
    """Ids of deployments that nobody would have driven any more."""
    moved: list[str]
    """Names of containers whose host ports have changed: the cut-over hook was told where they are."""


@operation("docker.reconcile", Lane.WORK)
def reconcile(_: ReconcileArguments) -> ReconcileResult:
    """Mend what doesn't fit; a second run, also at the same time, finds less to do or nothing."""
    mended = deployments().mend(deployments().stages())
    containers = _ours()
    removed, failed = remove_leftovers(list(leftovers(containers)))
    restored = _restore_displaced(_ours() if removed else containers)
    restored += _restore_abandoned(_ours() if removed else containers)
    if removed or restored:
        containers = _ours()
    _give_names_back(containers)
    adopted = adopt(containers) + reclaim(containers)
    result = ReconcileResult(
        host=settings().host,
        containers=len(containers),
        removed=removed,
        failed=failed,
        restored=restored,
        adopted=adopted,
        released=list(mended.stale),
        resumed=list(mended.resumed),
        moved=follow_changed_ports(containers),
    )
    if any((removed, failed, restored, adopted, result.released, result.resumed, result.moved)):
        log.warning("reconciled", **result.model_dump())
    metrics.reconciled({kind: len(found) for kind, found in result if isinstance(found, list)})
    return result


def _ours() -> list[Listed]:
    labels = engine().containers.labels
    return [each for each in engine().containers.labelled(labels.select()) if labels.are_ours(each.labels)]


def leftovers(containers: Sequence[Listed]) -> Iterator[Listed]:
    """Those of this namespace's containers that ended deployments have left."""
    labels, standings, moved = engine().containers.labels, standings_of(containers), _moved(containers)
    away = set(hosts().away()) if moved else set()
    unretired = {each for standing in standings.values() for each in standing.unretired}
    for each in containers:
        standing = standings.get(labels.deployment_of(each))
        to = moved.get(labels.stage_of(each))
        # While the host where it is live is away, what is here may be all that serves.
        moved_at = to.created if to and to.host not in away else None
        is_deployed = bool(labels.value_of(each, Label.FINGERPRINT))
        if not _is_young(each) and (
            each.id in unretired or plan.is_leftover(each, standing, deployed=is_deployed, moved_at=moved_at)
        ):
            yield each


def _moved(containers: Sequence[Listed]) -> Mapping[str, Moved]:
    """The stages that are live on another host by now, or were removed by one."""
    return deployments().moved(sorted({engine().containers.labels.stage_of(each) for each in containers}))


def remove_leftovers(containers: Sequence[Listed]) -> tuple[list[str], list[str]]:
    """Stop and remove containers; returns the names of those that are gone, and of those that the engine has still."""
    removed, failed = [], []
    for each in containers:
        try:
            halt(each)
            if engine().containers.remove(each, force=True):
                removed.append(each.name)
        except ContainerNotFound:
            continue
        except DeploymentError as error:
            log.warning("leftover_not_removed", container=each.name, error=error.message)
            failed.append(each.name)
    return removed, failed


def _restore_displaced(containers: Sequence[Listed]) -> list[str]:
    """Start again what was stopped for a deployment to begin that nobody knows any more, in place of its container."""
    labels, standings = engine().containers.labels, standings_of(containers)
    restored: list[str] = []
    for each in containers:
        if (
            labels.value_of(each, Label.DISPLACED)
            and labels.deployment_of(each) not in standings
            and not _is_young(each)
            and deployments().holder(labels.stage_of(each)) is None
        ):
            try:
                restored += _restore_those_displaced_by(each, containers)
            except DeploymentError as error:
                log.warning("displaced_not_restored", container=each.name, error=error.message)
    return restored


def _restore_abandoned(containers: Sequence[Listed]) -> list[str]:
    """Start again what was stopped for deployments that others ended while this host was away."""
    api, restored, abandoned_by_id = engine().containers, [], deployments().abandoned()
    moved = _moved(containers) if abandoned_by_id else {}
    for deployment_id, abandoned in abandoned_by_id.items():
        waiting = [each for each in containers if abandoned and each.id in abandoned.displaced]
        is_left = any(api.labels.deployment_of(each) == deployment_id for each in containers)
        if is_left or any(deployments().holder(api.labels.stage_of(each)) for each in waiting):
            # They can't run beside what it has left, or somebody else is to stop them.
            continue
        try:
            for each in waiting:
                stage = api.labels.stage_of(each)
                if abandoned and stage not in moved and not _went_live_since(stage, abandoned):
                    api.set_restart_policy(each, api.labels.restart_policy_of(each))
                    api.start(each)
                    restored.append(each.name)
        except DeploymentError as error:
            log.warning("displaced_not_restored", deployment=deployment_id, error=error.message)
        else:
            deployments().note_restored(deployment_id)
    return restored


def _give_names_back(containers: Sequence[Listed]) -> None:
    """Have what serves go by its name again where a deployment took that, and was ended while this host was away."""
    api, standings = engine().containers, standings_of(containers)
    for each in containers:
        deployment_id = api.labels.deployment_of(each)
        lost, standing = plan.lost_name(each, deployment_id), standings.get(deployment_id)
        if not lost or standing is None or not standing.went_live:
            continue
        try:
            if deployments().holder(api.labels.stage_of(each)) is None and not api.find_named(lost):
                api.rename(each, lost)
        except DeploymentError as error:
            log.warning("name_not_given_back", container=each.name, error=error.message)


def _went_live_since(stage: str, standing: Standing) -> bool:
    """Whether a version that was asked for later has taken the place of what was displaced."""
    live = deployments().live(stage)
    return live is not None and live.created > standing.created


def _restore_those_displaced_by(candidate: Listed, containers: Sequence[Listed]) -> list[str]:
    api = engine().containers
    displaced = api.labels.values_of(candidate, Label.DISPLACED)
    # One that was promoted has its restart policy, and has taken that of those.
    waiting = [each for each in containers if each.id in displaced and api.inspect(each.id).restart != "no"]
    if not waiting or plan.was_promoted(api.labels, api.inspect(candidate.id)):
        return []
    # Removed last: it is what tells of them.
    api.stop(candidate, 0)
    for each in waiting:
        api.start(each)
    api.remove(candidate, force=True)
    return [each.name for each in waiting]


def _is_young(container: Listed) -> bool:
    return time.time() - container.created < settings().reconcile_grace
