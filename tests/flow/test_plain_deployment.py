"""A plain deployment asks the engine for what docs/engine-calls.md lists, and for nothing else."""

import contextlib
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import bare
from tests.flow.conftest import Stage, served_through

HEARTBEAT = {"GET /info", "GET /networks", "GET /containers/json"}
LIST = Path(__file__).parents[2] / "docs" / "engine-calls.md"


def listed(policy):
    """The calls of the table, less those of the other policy."""
    table = LIST.read_text().partition("## What a plain deployment asks")[2].partition("\n\n## ")[0]
    rows = re.findall(r"^\| `([A-Z]+ [^`]+)` \|(.*)\|$", table, re.MULTILINE)
    return [call for call, purpose in rows if "only" not in purpose or f"`{policy}` only" in purpose]


def called(requests):
    """Without names and ids."""
    pattern = "/(image|container)s/(?!json$|create$)(.+)/(json|start|update)$"
    return [re.sub(pattern, r"/\1s/{\1}/\3", each) for each in requests]


@pytest.fixture(scope="module")
def served(engine_proxy, second_redis_url, installation, tmp_path_factory, engine, images):
    folder = tmp_path_factory.mktemp("plain")
    settings = {"DW_RECONCILE_SECONDS": "86400"}
    with served_through(engine_proxy, second_redis_url, folder, installation, **settings) as (another, client):
        # It has the worker's first reconciling behind it, and makes the network.
        first = Stage(client, engine, another)
        image = images("plain", "v1", healthcheck=None)
        first.deploy(image, health={"stable": 0})
        first.ask("docker.reconcile")
        yield another, client, image
        first.clear()


def check(asked, wanted):
    """All of them in their order, and beside these nothing but what tells other hosts of this one meanwhile."""
    rest = iter(asked)
    assert all(each in rest for each in wanted), asked
    assert set(Counter(asked) - Counter(wanted)) <= HEARTBEAT


@pytest.mark.parametrize(("policy", "number"), [("missing", 10), ("always", 11)])
def test_its_calls_are_the_list(served, engine_proxy, engine, policy, number, record_property):
    another, client, image = served

    stage = Stage(client, engine, another)
    engine_proxy.asked.clear()
    result = stage.deploy(image, policy=policy, health={"stable": 0})
    check(called(engine_proxy.asked), listed(policy))
    assert result["state"] == "live"
    assert len(listed(policy)) == number
    stage.clear()
    record_property("figure", f"plain deployment, policy {policy}: {number} engine calls")


def test_the_benchmarks_bare_script_makes_the_same(served, engine_proxy, monkeypatch, engine):
    another, _, image = served
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine_proxy.server_address}")
    with contextlib.closing(bare.client()) as api:
        engine_proxy.asked.clear()
        made = bare.deploy(api, image, another.network)
        check(called(engine_proxy.asked), listed("missing"))
    engine.remove_container(made, force=True, v=True)
