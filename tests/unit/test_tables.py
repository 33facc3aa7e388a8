"""Tables, at the width that a terminal has."""

import io

import pytest
from rich.console import Console

from worker.cli import output

COLUMNS = ("STAGE", "CONTAINER", "URL")
ROWS = [("shop/staging", "dw-shop-staging-1.4.2", "http://127.0.0.1:32768"), ("a/b", "dw-a-b", "")]


@pytest.fixture
def shown(monkeypatch):
    """What is shown of a table at a width."""

    def show(width, columns, rows, **options):
        text = io.StringIO()
        console = Console(file=text, width=width, highlight=False)
        monkeypatch.setattr(output, "out", lambda: console)
        output.show_table(columns, rows, **{"empty": "there is none", **options})
        return [line.rstrip() for line in text.getvalue().splitlines()]

    return show


def test_a_table_that_fits_has_a_line_for_each_row(shown):
    assert shown(59, COLUMNS, ROWS) == [
        "STAGE         CONTAINER              URL",
        "shop/staging  dw-shop-staging-1.4.2  http://127.0.0.1:32768",
        "a/b           dw-a-b",
    ]


def test_where_there_is_no_room_no_name_is_cut_short(shown):
    assert shown(40, COLUMNS, ROWS) == [
        "shop/staging",
        "  CONTAINER  dw-shop-staging-1.4.2",
        "  URL        http://127.0.0.1:32768",
        "a/b",
        "  CONTAINER  dw-a-b",
        "  URL",
    ]


def test_of_two_columns_the_second_needs_no_name(shown):
    told = "[bold red]failed[/] in step prove,\nImageNotFound: no such image"
    rows = [("c6916b41-f0b5-44ce-8e4b-4b5f3f6c3a0e", told)]
    wide = shown(80, ("DEPLOYMENT", "WHAT"), rows, last_wraps=True)
    assert wide[1] == "c6916b41-f0b5-44ce-8e4b-4b5f3f6c3a0e  failed in step prove,"
    assert shown(60, ("DEPLOYMENT", "WHAT"), rows, last_wraps=True) == [
        "c6916b41-f0b5-44ce-8e4b-4b5f3f6c3a0e",
        "  failed in step prove,",
        "  ImageNotFound: no such image",
    ]


def test_a_table_without_a_row_says_what_that_means(shown, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr(output, "err", lambda: Console(file=said, width=80))
    assert shown(80, COLUMNS, []) == ["STAGE  CONTAINER  URL"]
    assert said.getvalue() == "there is none\n"
