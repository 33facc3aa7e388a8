"""docs/errors.md is what the code says: the screens are captured by `make screens`."""

import re

import pytest

from tests.screens.page import KINDS, PAGE, words
from tests.screens.scenes import SCENES
from worker.cli.hints import HINTS, hint


def test_each_error_of_the_contract_has_a_scene_and_what_to_do():
    assert SCENES.keys() == KINDS.keys()
    assert KINDS.keys() <= HINTS.keys()


@pytest.mark.parametrize("kind", SCENES)
def test_the_page_says_of_each_error_what_the_code_says(kind):
    section = PAGE.read_text().partition(f"## {kind}\n")[2].partition("\n## ")[0]
    assert f"## {kind}\n{section}".startswith(words(kind)), "make screens"
    screen = section.partition("```text\n")[2].partition("```")[0]
    assert kind in screen


def test_what_to_do_is_filled_in_with_what_is_known(monkeypatch):
    monkeypatch.setattr("sys.argv", ["dw", "deploy", "shop/live", "reg.example.com/acme/shop:1"])
    facts = {"image": "reg.example.com/acme/shop:1", "credential": "ours"}
    said = hint("PullDenied", "", facts)
    assert said.startswith("credential ours was used; ")
    assert "--registry reg.example.com " in said
    assert hint("StartFailed", "", facts).endswith("`dw ps shop/live`")
    assert "host two" in hint("EngineUnavailable", "", {"host": "two"})
    assert hint("SettingsInvalid", "", {}) is None
    for kind in HINTS:
        assert not re.search(r"[{}]|  ", hint(kind, "", {}))
