"""A plain deployment asks the engine for what docs/engine-calls.md lists, and for nothing else."""

import re
from pathlib import Path

import pytest

from benchmarks import bare
from tests.flow.conftest import Stage, served_through

LIST = Path(__file__).parents[2] / "docs" / "engine-calls.md"


def listed(policy):
    """The calls of the table, less those of the other policy."""
    table = LIST.read_text().partition("## What a plain deployment asks")[2].partition("\n\n## ")[0]
    rows = re.findall(r"^\| `([A-Z]+ [^`]+)` \|(.*)\|$", table, re.MULTILINE)
    return [call for call, purpose in rows if "only" not in purpose or f"`{policy}` only" in purpose]


def called(requests):
    """Without names and ids, and without what the worker's heartbeat asks meanwhile."""
    pattern = "/(image|container)s/(?!json$|create$)(.+)/(json|start|update)$"
    return [re.sub(pattern, r"/\1s/{\1}/\3", each) for each in requests if each != "GET /info"]


@pytest.fixture(scope="module")
def served(engine_proxy, second_redis_url, installation, tmp_path_factory, engine, images):
    folder = tmp_path_factory.mktemp("plain")
    # Reconciling asks the engine as well.
    settings = {"DW_RECONCILE_SECONDS": "86400"}
    with served_through(engine_proxy, second_redis_url, folder, installation, **settings) as (another, client):
        image = images("plain", "v1", healthcheck=None)
        stages = [Stage(client, engine, another) for _ in range(3)]
        # The first makes the network, and has come after the reconciling that a worker begins with.
        stages[0].deploy(image, health={"stable": 0})
        stages[0].ask("docker.reconcile")
        yield image, stages[1:]
        for each in stages:
            each.clear()


@pytest.mark.parametrize(("policy", "number"), [("missing", 10), ("always", 11)])
def test_its_calls_are_the_list(served, engine_proxy, policy, number, record_property):
    image, stages = served
    before = len(engine_proxy.asked)
    result = stages[number - 10].deploy(image, policy=policy, health={"stable": 0})
    asked = called(engine_proxy.asked[before:])
    assert result["state"] == "live"
    assert asked == listed(policy)
    assert len(asked) == number
    record_property("figure", f"plain deployment, policy {policy}: {len(asked)} engine calls")


def test_the_benchmarks_bare_script_makes_the_same(served, engine_proxy, monkeypatch, engine):
    image, stages = served
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine_proxy.server_address}")
    api = bare.client()
    before = len(engine_proxy.asked)
    made = bare.deploy(api, image, stages[0].installation.network)
    engine.remove_container(made, force=True, v=True)
    api.close()
    assert called(engine_proxy.asked[before:]) == listed("missing")
