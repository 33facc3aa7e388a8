"""What OpenTelemetry's variables ask for, and what a header may say."""

import pytest

from worker import tracing
from worker.settings import SettingsInvalid
from worker.traceparent import context_of, own_context

CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    for each in (*tracing.ENDPOINTS, "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setattr(tracing, "_spans", None)


def test_a_protocol_that_is_not_spoken_is_said(monkeypatch):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsInvalid, match="OTEL_EXPORTER_OTLP_PROTOCOL: grpc can't be spoken here"):
        tracing.start()


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    with pytest.raises(SettingsInvalid, match=r"isn't installed: install docker-watcher-worker\[otel\]"):
        tracing.start()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_unless_it_is_asked_for(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    # Else it would miss OpenTelemetry.
    tracing.start()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        {"a": 1},
        CONTEXT.upper(),
        f"{CONTEXT}-more",
        f"{CONTEXT}\n",
        CONTEXT.replace("00-", "ff-", 1),
        f"00-{32 * '0'}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{16 * '0'}-01",
    ],
)
def test_what_is_no_context_is_as_good_as_none(header):
    assert context_of(header) is None


def test_a_context_is_taken_from_a_header_and_from_a_pipelines_variable(monkeypatch):
    assert context_of(CONTEXT) == CONTEXT
    monkeypatch.setenv("TRACEPARENT", CONTEXT)
    assert own_context() == CONTEXT
