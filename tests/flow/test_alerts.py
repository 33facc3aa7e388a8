"""Dashboard and alerts: by Prometheus' own tool, and by a real Prometheus that asks a real worker."""

import contextlib
import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from compose import packages, prometheus_server
from tests.flow.conftest import Stage, served_through, until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose/prometheus"
DASHBOARD = ROOT / "compose/grafana/dashboards/docker-watcher.json"
DOCUMENTED = ROOT / "docs/monitoring.md"
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@pytest.fixture(scope="module", autouse=True)
def _prometheus():
    packages.ensure(prometheus_server.PROGRAMS)


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def served(engine_proxy, port, second_redis_url, installation, tmp_path_factory):
    """An installation whose worker is measured, and a client of it."""
    folder = tmp_path_factory.mktemp("alerts")
    with served_through(engine_proxy, second_redis_url, folder, installation, DW_METRICS_PORT=str(port)) as both:
        yield both


@pytest.fixture
def stage(served, engine, images):
    made = Stage(served[1], engine, served[0])
    yield made
    made.clear()


@pytest.fixture
def prometheus(served, port, exported, tmp_path):
    """The address of a Prometheus that asks the worker each second, with rules that wait for nothing."""
    rules = re.sub(r"for: \d+m", "for: 0s", (FOLDER / "alerts.yml").read_text())
    (tmp_path / "alerts.yml").write_text(rules)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\nscrape_configs:\n"
        f"  - {{job_name: docker-watcher, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    with prometheus_server.private(tmp_path, config) as url:
        yield url


def asked(url, expression):
    """The values that Prometheus finds by now."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
        return [float(each["value"][1]) for each in json.load(answer)["data"]["result"]]


@pytest.fixture(scope="module")
def exported(served, port):
    """All metrics that a worker tells of, and their types."""

    def families():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))

    # Until the host has announced itself.
    until(lambda: any(sample.name == "dw_engine_up" for each in families() for sample in each.samples))
    return {f"{each.name}{'_total' if each.type == 'counter' else ''}": each.type for each in families()}


def expressions():
    """What dashboard and alerts ask for, by where."""
    board = json.loads(DASHBOARD.read_text())
    found = {each["title"]: [target["expr"] for target in each.get("targets", ())] for each in board["panels"]}
    return {**found, "alerts": [(FOLDER / "alerts.yml").read_text()]}


def test_the_rules_and_the_configuration_are_right_to_promtool():
    for command in ("check config prometheus.yml", "test rules alerts_test.yml"):
        said = subprocess.run(
            ["promtool", *command.split()], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr


def test_each_alert_is_tested_and_says_what_to_do():
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    assert set(alerts) == set(re.findall(r"alertname: (\w+)", (FOLDER / "alerts_test.yml").read_text()))
    assert set(alerts) == set(
        re.findall(r"^\| `(DockerWatcher\w+)`", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("where", expressions())
def test_what_is_asked_for_is_exported(exported, where):
    known = {f"{name.removesuffix('_total')}{end}" for name, kind in exported.items() for end in ENDINGS[kind]}
    asked = {each for text in expressions()[where] for each in re.findall(r"\b(?:dw|process)_\w+", text)}
    assert asked <= known


def test_the_documented_metrics_are_those_that_are_exported(exported):
    rows = re.findall(r"^\| `(dw_\w+)`[^|]*\| (\w+) \|", DOCUMENTED.read_text(), re.MULTILINE)
    assert dict(rows) == {name: kind for name, kind in exported.items() if name.startswith("dw_")}


def test_prometheus_fires_for_an_engine_that_is_lost(prometheus, engine_proxy):
    until(lambda: asked(prometheus, "sum(dw_engine_up)") == [1])
    assert "DockerWatcherEngineDown" not in prometheus_server.firing(prometheus)
    engine_proxy.fault = "500"
    said = until(lambda: prometheus_server.firing(prometheus).get("DockerWatcherEngineDown"))
    engine_proxy.fault = ""
    until(lambda: asked(prometheus, "sum(dw_engine_up)") == [1])
    assert said.startswith("The Docker engine of host local doesn't answer its workers.")


def test_each_panel_shows_what_has_happened(prometheus, stage, images, engine_proxy):
    images("dying", "v1", command=["/bin/busybox", "false"])
    stage.deploy("shop:v1")
    # An increase is one from a sample before.
    until(lambda: asked(prometheus, 'dw_engine_call_errors_total{call="POST /containers/create"}') == [0])
    engine_proxy.once = "POST /containers/create", "500"
    stage.deploy("shop:v2")
    assert engine_proxy.once is None
    for image, arguments in (("shop:v9", {}), ("dying:v1", {}), ("shop:v1", {"keep": 0})):
        assert stage.send("docker.deploy", **stage.deployment(image, **arguments)).get(timeout=60, propagate=False)
    stage.ask("docker.stage", project=stage.project, stage=stage.name, action="stop")
    stage.send("docker.nothing")
    waiting = {
        query.replace("$__rate_interval", "5m").replace("$host", "local"): title
        for title, queries in expressions().items()
        for query in queries
        if title not in {"alerts", "Mended by reconciling"}
    }

    def is_shown():
        for query in [query for query in waiting if asked(prometheus, query)]:
            del waiting[query]
        return not waiting

    with contextlib.suppress(AssertionError):
        until(is_shown)
    assert waiting == {}
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=10) as answer:
        (group,) = json.load(answer)["data"]["groups"]
    assert {each["health"] for each in group["rules"]} == {"ok"}
