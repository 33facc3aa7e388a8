"""What Prometheus is told of this process, where it is to be told anything (`DW_METRICS_PORT`).

Each function here counts one thing that has happened, and does nothing where metrics are off: what it takes to count is
imported only where they are on. No deployment is slower or worse for being counted.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from worker.errors import DeploymentError, is_named
from worker.record import Claim, Step
from worker.settings import SettingsInvalid, settings
from worker.spec import StageOrder

if TYPE_CHECKING:
    from worker.metrics.counted import Counted

log = structlog.get_logger()

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable: a folder in which the worker processes of one machine count together."""

_COMPENSATING = {Step.UNDO, Step.REVERT}
_counted: "Counted | None" = None


def start() -> None:
    """Count from now on, and answer Prometheus, as far as the settings ask for it.

    Raises SettingsInvalid where the port can't be had, or the folder that is to be shared.
    """
    global _counted  # noqa: PLW0603  # one of a process, as prometheus-client's own registry is
    port, folder = settings().metrics_port, os.environ.get(SHARED_FOLDER)
    if port is None and not folder:
        return
    if folder and not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsInvalid(f"{SHARED_FOLDER} is no folder that can be written to: make {folder}, empty.")
    from worker.metrics.counted import Counted  # noqa: PLC0415  # see above

    _counted = Counted()
    if port is not None:
        from worker.metrics.server import serve  # noqa: PLC0415  # see above

        serve(_counted, settings().metrics_address, port, is_shared=bool(folder))


def deployment_ended(claim: Claim, result: str) -> None:
    """A deployment, or an order to a stage, has ended; told by the one worker that has closed its record."""
    error = _kind(claim.error)
    if isinstance(claim.asked, StageOrder):
        action = claim.asked.action
        _tell(lambda to: to.stage_orders.labels(action, result, error).inc())
    else:
        seconds = claim.now - claim.created
        _tell(lambda to: to.deployments.labels(result, error).inc())
        _tell(lambda to: to.deployment_seconds.labels(result).observe(seconds))


def request_refused(error: BaseException) -> None:
    """What was asked of a stage was never recorded: its arguments are wrong, or it isn't allowed."""
    _tell(lambda to: to.requests_refused.labels(_kind(error)).inc())


def message_refused() -> None:
    """A message got as far as no task."""
    _tell(lambda to: to.messages_refused.inc())


def step_begun(claim: Claim) -> None:
    """A worker has taken a step that came by a message."""
    _tell(lambda to: to.step_wait.observe(claim.waited))
    if claim.is_first and claim.step is Step.PULL:
        _tell(lambda to: to.deployment_wait.observe(claim.now - claim.created))


def step_done(claim: Claim, seconds: float) -> None:
    _tell(lambda to: to.step_seconds.labels(claim.step).observe(seconds))
    if claim.step in _COMPENSATING:
        _tell(lambda to: to.compensations.labels(claim.step).inc())


def step_retried(claim: Claim, error: DeploymentError) -> None:
    _tell(lambda to: to.step_retries.labels(claim.step, _kind(error)).inc())


def step_failed(claim: Claim, error: DeploymentError) -> None:
    _tell(lambda to: to.step_failures.labels(claim.step, _kind(error)).inc())


def pull_ended(result: str, size: int) -> None:
    """A pull has ended: `downloaded`, `present` or `failed`; so many bytes came of it, also of one that failed."""
    _tell(lambda to: to.pulls.labels(result).inc())
    _tell(lambda to: to.pull_bytes.inc(size))


def reconciled(actions: Mapping[str, int]) -> None:
    """A host was reconciled, with so many actions of each kind."""
    for kind, count in actions.items():
        _tell(lambda to, kind=kind, count=count: to.reconcile_actions.labels(kind).inc(count))  # type: ignore[misc]  # mypy sees no defaults of a lambda


def engine_called(call: str, seconds: float, *, is_answered: bool) -> None:
    """The engine was asked, as by `POST /containers/{id}/start`; a status 5xx is no answer."""

    def count(to: "Counted") -> None:
        to.engine_call_seconds.labels(call).observe(seconds)
        # By 0 as well: an increase from nothing is none to Prometheus.
        to.engine_call_errors.labels(call).inc(not is_answered)

    _tell(count)


def _tell(told: "Callable[[Counted], None]") -> None:
    if _counted is None:
        return
    try:
        told(_counted)
    except OSError as error:
        # The shared folder is full, or gone.
        log.warning("metric_not_kept", error=str(error))


def _kind(error: BaseException | None) -> str:
    if error is None:
        return ""
    # Whoever writes messages must not make up labels.
    name = type(error).__name__
    return name if is_named(name) else "other"
