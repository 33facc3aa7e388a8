"""`dw`, put together from its commands."""

import atexit
import gc
import os

import typer

from worker.cli.commands import containers, credential, deployments, hosts, secrets, watching

app = typer.Typer(
    name="dw",
    help="Deploy container images and see to what runs. A stage is written PROJECT/STAGE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for each in (deployments, containers, hosts, secrets, watching):
    app.add_typer(each.app)
app.add_typer(credential.app, name="credential")


def main() -> None:
    """Run `dw`."""
    # A process this short has nothing to collect, and looking for it would be a third of its time: the most at its end.
    gc.disable()
    atexit.register(gc.freeze)
    _heed_clicolor()
    app()


def _heed_clicolor() -> None:
    """Say by NO_COLOR and FORCE_COLOR, which the libraries heed, what CLICOLOR and CLICOLOR_FORCE say."""
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        os.environ.setdefault("FORCE_COLOR", "1")
    elif os.environ.get("CLICOLOR") == "0" and not os.environ.get("FORCE_COLOR"):
        os.environ.setdefault("NO_COLOR", "1")
