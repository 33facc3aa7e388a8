"""`dw`, put together from its commands."""

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from worker.cli.arguments import SECRETS
from worker.cli.commands import containers, credential, deployments, hosts, secrets, watching

_INTERRUPTED = 130

app = typer.Typer(
    name="dw",
    epilog="`dw COMMAND --help` has examples. Something is wrong, and it isn't clear what: `dw doctor`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for each in (deployments, containers, hosts, secrets, watching):
    app.add_typer(each.app)
app.add_typer(credential.app, name="credential", rich_help_panel=SECRETS)


def _show_version(asked: bool) -> None:
    if asked:
        from worker.about import versions

        found = versions()
        typer.echo(f"dw {found['version']} (Celery {found['celery']}, Python {found['python']})")
        raise typer.Exit


@app.callback()
def dw(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Deploy container images and see to what runs. A stage is written PROJECT/STAGE."""


def run() -> None:
    """Run what the command line asks for."""
    _leave_out_telemetry()
    _heed_clicolor()
    try:
        status = app(standalone_mode=False)
    except SystemExit as ended:
        if not isinstance(ended.code, str):
            raise
        # How Celery's app says that it can't be made of these settings.
        _show_error("SettingsInvalid", ended.code)
        sys.exit(1)
    except typer.Abort:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read it has seen enough. Python would complain of it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except TyperException as error:
        _show_usage_error(error)
    else:
        sys.exit(status)


def _show_usage_error(error: TyperException) -> None:
    message = " ".join(error.format_message().split())
    # Of `dw` alone: it has shown its help.
    if type(error).__name__ != "NoArgsIsHelpError":
        _show_error("UsageWrong", message)
    sys.exit(error.exit_code)


def _show_error(kind: str, message: str) -> None:
    from worker.cli.output import show_error

    show_error(kind, message, {}, as_json="--json" in sys.argv)


def _leave_out_telemetry() -> None:
    """Have redis-py find no OpenTelemetry: it imports that wherever it is, for figures that nobody asks `dw` for."""
    for name in ("opentelemetry.metrics", "opentelemetry.sdk.metrics"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as the language has it for what isn't to be found


def _heed_clicolor() -> None:
    """Say by NO_COLOR and FORCE_COLOR, which the libraries heed, what CLICOLOR and CLICOLOR_FORCE say."""
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        os.environ.setdefault("FORCE_COLOR", "1")
    elif os.environ.get("CLICOLOR") == "0" and not os.environ.get("FORCE_COLOR"):
        os.environ.setdefault("NO_COLOR", "1")
