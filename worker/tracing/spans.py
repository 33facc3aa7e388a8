"""The spans of deployments and steps, made when they have ended, with the times of their records."""

import hashlib
import os
import threading
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_SCHEDULE_DELAY, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from worker.errors import DeploymentError
from worker.record import Claim
from worker.settings import settings
from worker.spec import DeploymentSpec

_SERVICE = "docker-watcher"
_SENT_EVERY = 1000
"""Milliseconds: what a worker that is killed takes along. OpenTelemetry's own are 5000."""
_ENDS_WITHIN = 1.5
"""Seconds: a collector that doesn't answer is not waited for."""
_SCOPE = InstrumentationScope("docker-watcher")


class Spans:
    """Sends spans to the collector, by a thread of OpenTelemetry's own that keeps 2048 at the most."""

    def __init__(self) -> None:
        named = {} if os.environ.get(OTEL_SERVICE_NAME) else {SERVICE_NAME: _SERVICE}
        self._resource = Resource.create({**named, "dw.namespace": settings().namespace})
        delay = None if os.environ.get(OTEL_BSP_SCHEDULE_DELAY) else _SENT_EVERY
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._sent = BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay)

    def stop(self) -> None:
        # It may wait for its collector, and asks again, for a minute.
        ending = threading.Thread(target=self._sent.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(_ENDS_WITHIN)

    def add_step(self, claim: Claim, outcome: str, error: DeploymentError | None) -> None:
        deployment, span_id = self._context(claim), _id(f"{claim.id} {claim.fence}", 8)
        # A row of attempts has no gaps: each begins where the one before it has ended.
        begun = max(claim.since, claim.troubled)
        self._add(
            claim.step.task,
            SpanContext(deployment.trace_id, span_id, is_remote=False, trace_flags=deployment.trace_flags),
            deployment,
            begun=begun,
            ended=claim.since + claim.elapsed,
            error=error,
            attributes={
                **_about(claim),
                "dw.step": str(claim.step),
                "dw.attempt": claim.attempt,
                "dw.outcome": outcome,
            },
        )

    def add_deployment(self, claim: Claim, result: str) -> None:
        self._add(
            "docker.deploy" if isinstance(claim.asked, DeploymentSpec) else "docker.stage",
            self._context(claim),
            _producers(claim),
            begun=claim.created,
            ended=claim.since + claim.elapsed,
            error=claim.error,
            attributes={**_about(claim), "dw.result": result},
            kind=SpanKind.CONSUMER,
        )

    def _add(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *,
        begun: float,
        ended: float,
        error: DeploymentError | None,
        attributes: Mapping[str, str | int],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        failed = {"error.type": type(error).__name__} if error else {}
        self._sent.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                {**attributes, **failed},
                kind=kind,
                status=Status(StatusCode.ERROR, error.message) if error else Status(StatusCode.UNSET),
                start_time=int(begun * 1e9),
                end_time=int(max(begun, ended) * 1e9),
                instrumentation_scope=_SCOPE,
            )
        )

    def _context(self, claim: Claim) -> SpanContext:
        """The deployment's own span, which each worker makes out the same."""
        parent = _producers(claim)
        trace_id = parent.trace_id if parent else _id(claim.id, 16)
        surroundings = set_span_in_context(NonRecordingSpan(parent)) if parent else None
        decision = self._sampler.should_sample(surroundings, trace_id, "docker.deploy").decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        return SpanContext(trace_id, _id(f"{claim.id} deployment", 8), is_remote=False, trace_flags=flags)


def _producers(claim: Claim) -> SpanContext | None:
    if not claim.traceparent:
        return None
    _, trace_id, span_id, flags = claim.traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _id(text: str, length: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:length]) or 1


def _about(claim: Claim) -> dict[str, str | int]:
    image = {"dw.image": claim.asked.image} if isinstance(claim.asked, DeploymentSpec) else {}
    return {
        "dw.deployment_id": claim.id,
        "dw.project": claim.asked.project,
        "dw.stage": claim.asked.stage,
        "dw.host": claim.host,
        **image,
    }
