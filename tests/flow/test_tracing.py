"""One trace for a deployment, across steps and workers, as a collector hears of it over HTTP."""

import contextlib
import gzip
import http.server
import socket
import threading
import uuid

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.flow.conftest import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PRODUCERS = f"00-{TRACE}-{PARENT}-01"


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP has them."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans, self.services = [], set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def take(self, body):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add((told["service.name"], told["dw.namespace"]))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def of(self, deployment_id):
        """The spans of a deployment, by what they are of."""
        return [span for span in self.spans if told_by(span)["dw.deployment_id"] == deployment_id]

    def has_ended(self, deployment_id):
        return any(span.name == "docker.deploy" for span in self.of(deployment_id))


class _Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def told_by(span):
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.fixture(scope="module")
def collector():
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def stage(unserved_stage):
    unserved_stage.installation.add_credential()
    return unserved_stage


def traced(stage, endpoint):
    return stage.installation.worker(stage.client, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)


def send(stage, image, header=PRODUCERS, **arguments):
    """As a producer that is in a trace."""
    return stage.client.send_task(
        "docker.deploy", kwargs=stage.deployment(image, **arguments), headers={"traceparent": header}
    )


def test_all_steps_are_in_the_producers_trace_whichever_worker_does_them(stage, collector, images):
    images("slow", "traced", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    with contextlib.ExitStack() as workers:
        doomed = workers.enter_context(traced(stage, collector.url))
        sent = send(stage, "slow:traced", health={"stable": 4})
        until(lambda: any(span.name == "docker.deploy.start" for span in collector.of(sent.id)))
        # Before the other begins: that can take longer than what is left to do.
        doomed.kill()
        doomed.wait()
        workers.enter_context(traced(stage, collector.url))
        sent.get(timeout=60)
        until(lambda: collector.has_ended(sent.id))
    spans = collector.of(sent.id)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert len({span.span_id for span in spans}) == len(spans)
    (root,) = (span for span in spans if span.name == "docker.deploy")
    assert (root.parent_span_id.hex(), root.kind) == (PARENT, Span.SPAN_KIND_CONSUMER)
    steps = sorted((span for span in spans if span is not root), key=lambda span: span.start_time_unix_nano)
    assert {span.parent_span_id for span in steps} == {root.span_id}
    names = [span.name.removeprefix("docker.deploy.") for span in steps]
    assert names == ["pull", "inspect", "create", "start", "prove", "promote", "report"]
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano for span in steps)
    assert all(span.end_time_unix_nano <= root.end_time_unix_nano for span in steps)
    prove = told_by(steps[names.index("prove")])
    assert (prove["dw.stage"], prove["dw.project"], prove["dw.host"]) == (stage.name, stage.project, "local")
    assert told_by(root)["dw.result"] == "live"
    assert collector.services == {("docker-watcher", stage.installation.namespace)}


def test_failures_and_what_dw_sends_are_in_a_trace_of_their_own(stage, collector, images):
    images("dying", "traced", command=["/bin/busybox", "false"])
    with traced(stage, collector.url):
        for header in ({"a": 1}, f"00-{32 * '0'}-{PARENT}-01"):
            failed = send(stage, "dying:traced", header)
            assert type(failed.get(timeout=60, propagate=False)).__name__ == "StartFailed"
        until(lambda: collector.has_ended(failed.id))
        spans = {span.name: span for span in collector.of(failed.id)}
        context = f"00-{uuid.uuid4().hex}-{PARENT}-01"
        image = stage.image("shop:v1")
        where = f"{stage.project}/{stage.name}"
        said = stage.installation.dw("deploy", where, image, environment={"TRACEPARENT": context})
        assert said.returncode == 0, said.stderr
        trace_id = bytes.fromhex(context.split("-")[1])
        until(lambda: any(span.trace_id == trace_id and span.name == "docker.deploy" for span in collector.spans))
        # The producer has decided that its trace isn't kept.
        unsampled = send(stage, "shop:v1", f"00-{uuid.uuid4().hex}-{PARENT}-00")
        unsampled.get(timeout=60)
        last = send(stage, "shop:v1", force=True)
        last.get(timeout=60)
        until(lambda: collector.has_ended(last.id))
        assert collector.of(unsampled.id) == []
    (root, prove) = spans["docker.deploy"], spans["docker.deploy.prove"]
    assert not root.parent_span_id
    assert len({span.trace_id for span in spans.values()}) == 1
    assert root.status.code == prove.status.code == Status.STATUS_CODE_ERROR
    assert told_by(prove)["error.type"] == "StartFailed"
    assert (told_by(prove)["dw.outcome"], told_by(prove)["dw.attempt"]) == ("failed", 1)
    assert "failed" in root.status.message
    assert "docker.deploy.undo" in spans


def test_a_collector_that_is_away_slows_nothing(stage, images):
    # Takes connections, and answers nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with traced(stage, endpoint) as worker:
            result = send(stage, "shop:v1").get(timeout=60)
            assert sum(result["seconds"].values()) < 15
            worker.terminate()
            assert worker.wait(15) == 0
