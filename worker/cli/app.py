"""`dw`, put together from its commands."""

import atexit
import gc

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
    app()
