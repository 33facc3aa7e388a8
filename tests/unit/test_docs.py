"""The documents: no dead link, no command that doesn't exist, and what is written from the code is up to date."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from docs import reference
from worker.cli.app import app

ROOT = Path(__file__).parents[2]
OUTSIDE_SITE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES = [*OUTSIDE_SITE, *sorted(str(each.relative_to(ROOT)) for each in (ROOT / "docs").glob("*.md"))]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def text(page):
    return (ROOT / page).read_text()


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(page, program):
    """The commands of a page's terminals that begin with this program, as lists of words."""
    for block in re.findall(r"```(?:console|sh|bash)\n(.*?)```", text(page), re.DOTALL):
        for line in re.findall(r"^\s*[$#] (.*(?:\\\n.*)*)", block, re.MULTILINE):
            for part in re.split(r" (?:&&|[|<>]) ", line.replace("\\\n", " ")):
                if part.startswith(f"{program} "):
                    yield shlex.split(part, comments=True)[1:]


def test_the_site_has_no_dead_link(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("page", OUTSIDE_SITE)
def test_a_link_outside_the_site_leads_somewhere(page):
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text(page)):
        assert (ROOT / (path or page)).exists(), path
        assert not anchor or anchor in anchors(path or page), anchor


@pytest.mark.parametrize("page", PAGES)
def test_what_is_made_is_there_to_make(page):
    for words in commands(page, "make"):
        assert {word for word in words if "=" not in word} <= set(TARGETS)


@pytest.mark.parametrize("page", PAGES)
def test_dw_takes_the_commands_that_are_shown(page):
    for words in commands(page, "dw"):
        # What a command's help says of its usage is no command, and this one acts as soon as it is read.
        if not {"[OPTIONS]", "--install-completion"} & set(words):
            parse(typer.main.get_command(app), words)


def parse(command, words):
    """Read a command line, and run nothing."""
    if isinstance(command, typer.core.TyperGroup) and not words[0].startswith("-"):
        _, inner, rest = command.resolve_command(command.context_class(command), list(words))
        parse(inner, rest)
        return
    # Asked for its help, or the like, it shows that and exits.
    with contextlib.suppress(typer.Exit):
        command.make_context("dw", list(words))


@pytest.mark.parametrize("page", reference.pages())
def test_what_is_written_from_the_code_is_up_to_date(page):
    assert text(f"docs/{page}") == reference.pages()[page], "run `make reference`"
