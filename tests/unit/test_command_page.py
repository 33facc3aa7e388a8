"""docs/dw.md is what the commands' help says."""

from typer.main import get_command

from docs.commands import PAGE, page
from worker.cli.app import app


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "make reference"


def test_each_command_has_examples():
    command = get_command(app)
    for name in command.commands:
        group = getattr(command.commands[name], "commands", None)
        for each in group.values() if group else [command.commands[name]]:
            assert f"$ dw {name}" in (each.epilog or ""), name
