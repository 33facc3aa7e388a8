"""Provoke each error of the contract, and write what `dw` shows to docs/errors.md: `make screens`."""

import contextlib
import sys
import tempfile
from pathlib import Path

import docker
from celery import Celery

from compose.redis import spare_database
from tests.flow.conftest import Installation
from tests.screens.page import PAGE, page
from tests.screens.scenes import SCENES, STAGE, Stage
from tests.services import remove_managed, required


def main(wanted):
    """All of them, or those that are named, which are printed only."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(contextlib.closing(docker.APIClient(required("DOCKER_HOST"), version="auto")))
        redis_url = spare_database(required("DW_REDIS_URL"))
        installation = Installation(redis_url, folder, namespace="acme")
        installation.environment |= {
            "DW_ALLOWED_IMAGES": f"{installation.registry}/acme/**,127.0.0.1:*/acme/**",
            "DW_LEASE_SECONDS": "5",
        }
        client = stack.enter_context(
            contextlib.closing(Celery(broker=redis_url, backend=redis_url, set_as_current=False))
        )
        stack.callback(remove_managed, engine, "acme")
        # The workers' logs are of interest where something goes wrong.
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context((folder / "said").open("w"))))
        installation.add_credential()
        stack.enter_context(installation.worker(client))
        stage = Stage(installation, client, engine)
        stage.run("deploy", STAGE, stage.image("1.4.1"))
        screens = {}
        for kind in wanted or SCENES:
            print(kind, file=sys.stderr, flush=True)
            screens[kind] = SCENES[kind](stage)
            told = "\n".join(screens[kind][1])
            assert kind in told, told
            print(told, file=sys.stderr, flush=True)
    if not wanted:
        PAGE.write_text(page(_generic(screens, installation)))
    return 0


def _generic(screens, installation):
    """The same with names that are the same each time."""
    names = {installation.registry: "registry.example.com", installation.namespace + "/shop": "acme/shop"}
    made = {}
    for kind, (command, lines) in screens.items():
        texts = [command, *lines]
        for name, shown in names.items():
            texts = [each.replace(name, shown) for each in texts]
        made[kind] = (texts[0], texts[1:])
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
