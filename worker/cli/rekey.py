"""`dw rekey`: after a new key was put first in `DW_KEYS`, what it takes to drop the others."""

import typer

from worker.cli.client import calls
from worker.cli.output import errors_shown, out, show_json
from worker.keyring import keyring
from worker.store import Resealed, sealed


def run(patience: float, *, as_json: bool) -> None:
    """Seal anew what is stored, say what still needs an older key, and exit with 1 where something has none."""
    with errors_shown(as_json=as_json):
        done = {
            "credentials": sealed().reseal_credentials(keyring()),
            "variables": sealed().reseal_variables(keyring()),
        }
        listed = calls().ask("docker.list", {"all": True}, patience)["containers"]
        older = sorted(each["name"] for each in listed if each["older_key"])
        if as_json:
            show_json({**{kind: vars(each) for kind, each in done.items()}, "containers": {"older_key": older}})
        else:
            _show(done, older)
        if any(each.unopened for each in done.values()):
            raise typer.Exit(1)


def _show(done: dict[str, Resealed], older: list[str]) -> None:
    for kind, each in done.items():
        out().print(f"{kind}: {each.renewed} sealed anew, {each.untouched} were so already")
        for name in each.unopened:
            out().print(
                f"not opened by any key: {name}; give DW_KEYS the key that it was sealed with, or store it anew"
            )
    if older:
        out().print(
            f"{len(older)} containers need an older key until their stages' next deployment: {', '.join(older)}"
        )
    else:
        out().print("no container needs an older key")
