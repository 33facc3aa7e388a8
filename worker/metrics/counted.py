"""The counters and histograms of a process, by Prometheus' naming: seconds, bytes, `_total`.

What has a label with few values has all of them from the start, at 0: an increase from nothing is none to Prometheus.
No label is a project, a stage or a container: there may be thousands, and each is kept for ever.
"""

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector

from worker.errors import KINDS, DeploymentCancelled, DeploymentSuperseded, EngineUnavailable, RegistryUnavailable
from worker.record import OF_STAGE, Step

_ENDS = {DeploymentCancelled.__name__: "cancelled", DeploymentSuperseded.__name__: "superseded"}
RECONCILE_KINDS = ("removed", "failed", "restored", "adopted", "released", "resumed", "moved")

_OF_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_OF_STEPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_OF_DEPLOYMENTS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_OF_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Counted:
    """All that a process counts."""

    def __init__(self) -> None:
        # When each series began: half as many again, for what no rule here asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as prometheus-client has it
        self.registry = CollectorRegistry()
        # Where several processes count together, what one of them knows is in the folder that they share.
        self._own: CollectorRegistry | None = self.registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]  # as prometheus-client has it
            self._own = None
        else:
            ProcessCollector(registry=self.registry)
        self.deployments = self._counter(
            "dw_deployments_total",
            "Deployments that have ended, by result and the contract's error.",
            "result",
            "error",
        )
        self.deployment_seconds = self._histogram(
            "dw_deployment_seconds", "From a deployment's acceptance to its end.", _OF_DEPLOYMENTS, "result"
        )
        self.deployment_wait = self._histogram(
            "dw_deployment_wait_seconds",
            "From a deployment's acceptance to its first step: the wait for its stage, and for a worker.",
            _OF_WAITS,
        )
        self.stage_orders = self._counter(
            "dw_stage_orders_total",
            "Orders to stop, restart or remove a stage that have ended.",
            *("action", "result", "error"),
        )
        self.requests_refused = self._counter(
            "dw_requests_refused_total", "Deployments and orders that were refused before they were recorded.", "error"
        )
        self.messages_refused = self._counter(
            "dw_messages_refused_total", "Messages that are none of the contract: malformed, too long, of no task."
        )
        self.step_seconds = self._histogram(
            "dw_step_seconds",
            "From when a step was first due to when it was done, retries included.",
            _OF_STEPS,
            "step",
        )
        self.step_wait = self._histogram(
            "dw_step_wait_seconds", "From when a step was due to when a worker took its message.", _OF_WAITS
        )
        self.step_retries = self._counter(
            "dw_step_retries_total", "Attempts at a step that failed and were followed by another.", "step", "error"
        )
        self.step_failures = self._counter(
            "dw_step_failures_total", "Steps that failed for good, and with them what was asked for.", "step", "error"
        )
        self.compensations = self._counter(
            "dw_compensations_total", "Failures that were undone, or led back from what had been cut over.", "step"
        )
        self.pulls = self._counter("dw_pulls_total", "Pulls from registries that have ended.", "result")
        self.pull_bytes = self._counter("dw_pull_bytes_total", "Bytes of layers that pulls have downloaded.")
        self.reconcile_actions = self._counter(
            "dw_reconcile_actions_total", "What reconciling found and mended, or failed to.", "kind"
        )
        self.engine_call_seconds = self._histogram(
            "dw_engine_call_seconds",
            "How long the engine took to answer, pulls, logs and events aside.",
            _OF_CALLS,
            "call",
        )
        self.engine_call_errors = self._counter(
            "dw_engine_call_errors_total", "Calls of the engine without an answer, or with a status 5xx.", "call"
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        for result in ("live", "unchanged"):
            self.deployments.labels(result, "")
        for error in (each.__name__ for each in KINDS):
            self.deployments.labels(_ENDS.get(error, "failed"), error)
            self.requests_refused.labels(error)
            self.step_failures.labels(Step.PULL, error)
        for action in OF_STAGE:
            self.stage_orders.labels(action, "done", "")
        for step in (Step.UNDO, Step.REVERT):
            self.compensations.labels(step)
        for result in ("downloaded", "present", "failed"):
            self.pulls.labels(result)
        for kind in RECONCILE_KINDS:
            self.reconcile_actions.labels(kind)
        for step in set(Step) - {Step.ENDED}:
            self.step_retries.labels(step, EngineUnavailable.__name__)
        self.step_retries.labels(Step.PULL, RegistryUnavailable.__name__)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._own)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._own)
