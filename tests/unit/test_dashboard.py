"""The Grafana dashboard, by what its JSON must be; what it asks for is asked in test_alerts.py."""

import itertools
import json
import re
from pathlib import Path

import pytest

BOARD = json.loads((Path(__file__).parents[2] / "compose/grafana/dashboards/docker-watcher.json").read_text())
PANELS = {each["title"] if each["type"] != "row" else f"row {each['title']}": each for each in BOARD["panels"]}
PICKED = {"type": "prometheus", "uid": "${datasource}"}
GRAFANAS_OWN = {"__rate_interval"}


def parts(of):
    """All objects in an object."""
    yield of
    for each in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        yield from parts(each)


def test_every_panel_has_a_place_of_its_own_and_a_number():
    assert len({each["id"] for each in BOARD["panels"]}) == len(BOARD["panels"])
    places = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (each["gridPos"] for each in BOARD["panels"])
    ]
    assert all(one.isdisjoint(another) for one, another in itertools.combinations(places, 2))
    assert {x for place in places for x, _ in place} == set(range(24))


def test_prometheus_is_the_one_that_is_picked():
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    sources = [each["datasource"] for each in parts(BOARD) if isinstance(each, dict) and "datasource" in each]
    assert len(sources) > len(PANELS)
    assert all(each == PICKED for each in sources)


@pytest.mark.parametrize("title", [title for title in PANELS if not title.startswith("row ")])
def test_a_panel_asks_for_what_is_there_and_says_what_it_shows(title):
    panel = PANELS[title]
    assert panel["type"] in {"stat", "timeseries", "table"}
    assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "s", "bytes", "Bps", "percentunit"}
    assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"]) > 0
    known = GRAFANAS_OWN | {each["name"] for each in BOARD["templating"]["list"]}
    asked = "".join(each["expr"] for each in panel["targets"])
    assert set(re.findall(r"\$(\w+)", asked)) <= known
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"]
        assert all(each["legendFormat"] for each in panel["targets"])
