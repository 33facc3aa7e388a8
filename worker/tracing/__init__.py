"""Traces: one for each deployment, across all its steps and whichever workers do them, as OpenTelemetry has it.

A producer that is in a trace says so in its message's header `traceparent` (W3C Trace Context). The deployment's record
keeps that, and all else follows from the deployment's id: so each worker knows the trace, and nobody has to hold
anything from one step to the next.

What makes spans is imported only where a collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT`). No deployment is slower or
worse for being traced.
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from worker.errors import DeploymentError
from worker.record import Claim
from worker.settings import SettingsInvalid

if TYPE_CHECKING:
    from worker.tracing.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_spans: "Spans | None" = None


def start() -> None:
    """Make spans from now on, if OpenTelemetry's own variables ask for it.

    Raises SettingsInvalid where they ask for what can't be had.
    """
    global _spans  # noqa: PLW0603  # one of a process
    if not _is_asked_for():
        return
    protocol = _first(_PROTOCOLS)
    if protocol not in {None, "http/protobuf"}:
        raise SettingsInvalid(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol} can't be spoken here; set http/protobuf.")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        raise SettingsInvalid(
            f"{next(each for each in ENDPOINTS if os.environ.get(each))} asks for traces, and OpenTelemetry isn't "
            "installed: install docker-watcher-worker[otel], or unset it."
        )
    from worker.tracing.spans import Spans  # noqa: PLC0415  # see above

    _spans = Spans()


def stop() -> None:
    """Send what is left, in a second or so."""
    if _spans is not None:
        _spans.stop()


def step_ended(claim: Claim, outcome: str, error: DeploymentError | None = None) -> None:
    """An attempt at a step has ended: `done`, `retry` or `failed`."""
    if _spans is not None:
        _spans.add_step(claim, outcome, error)


def deployment_ended(claim: Claim, result: str) -> None:
    """A deployment, or an order to a stage, has ended; told by the one worker that has closed its record."""
    if _spans is not None:
        _spans.add_deployment(claim, result)


def _is_asked_for() -> bool:
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not is_off and _first(ENDPOINTS) is not None


def _first(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[each] for each in variables if os.environ.get(each)), None)
