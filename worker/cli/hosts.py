"""`dw hosts`, `dw drain` and `dw forget`: the engines that containers run on."""

from typing import Any

from rich.markup import escape

from worker import plan, rescue
from worker.celery import Lane
from worker.cli import deploy
from worker.cli.client import calls
from worker.cli.output import err, out, show_json, show_table
from worker.drain import served_by
from worker.errors import DeploymentError, SpecInvalid
from worker.settings import settings
from worker.store import Host, hosts


def show(*, as_json: bool) -> None:
    """Show all hosts that were ever heard of."""
    found = hosts().all()
    if as_json:
        show_json({"hosts": [_described(each) for each in found]})
        return
    columns = ("HOST", "STATE", "ENGINE", "CONTAINERS", "UNDER WAY", "SLOTS", "FREE DISK")
    empty = "no worker has ever served this installation; start one: `celery -A worker worker`"
    show_table(columns, [_row(each) for each in found], empty=empty)


def drain(name: str, *, move: bool, end: bool, as_json: bool) -> None:
    """Give a host nothing new, or end that; and deploy what is live there elsewhere, where asked.

    Raises SpecInvalid; what a deployment ended with, and then the rest stays where it is.
    """
    host = _known(name)
    if end:
        hosts().end_drain(host.name)
    else:
        hosts().drain(host.name)
    moved, stays = _move_away(host.name) if move and not end else ([], [])
    if as_json:
        show_json({"host": host.name, "drained": not end, "moved": moved, "stays": stays})
        return
    out().print(f"Host {name} takes on {'what is new again' if end else 'nothing new'}.")
    if stays:
        out().print(f"With data on its volumes, or no second instance allowed, these stay: {', '.join(stays)}.")


def forget(name: str, *, as_json: bool) -> None:
    """Forget a host that is gone for good: its deployments end, and its stages can be deployed anew elsewhere.

    Raises SpecInvalid.
    """
    host = _known(name)
    if not host.is_away:
        raise _invalid(f"host {name} was heard of {host.silent_for:.0f} s ago; stop its workers first")
    there = next((each.name for each in hosts().all() if not each.is_away), settings().host)
    ended = rescue.give_up(name, there)
    hosts().forget(name)
    if as_json:
        show_json({"host": name, "ended": ended})
    else:
        out().print(f"Host {name} is forgotten; {len(ended)} deployments of it have ended.")


def prune(patience: float, **arguments: object) -> dict[str, Any]:
    """Have `docker.prune` done on each host that is there, and return what all of them have removed.

    Raises what one of them ended with, Unanswered.
    """
    there = [each.name for each in hosts().all() if not each.is_away] or [settings().host]
    queues = [Lane.WORK.queue(settings().namespace, each) for each in there]
    asked = [calls().send("docker.prune", arguments, queue=each) for each in queues]
    answers = [calls().answer(each, "docker.prune", patience) for each in asked]
    return {
        "hosts": there,
        "dry_run": arguments["dry_run"],
        "images": [{"host": answer["host"], **each} for answer in answers for each in answer["images"]],
        "containers": [each for answer in answers for each in answer["containers"]],
        "bytes_freed": sum(answer["bytes_freed"] for answer in answers),
    }


def _move_away(host: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Deploy what serves on a host elsewhere: what became of each stage, and those that stay.

    Raises what the first deployment that failed ended with.
    """
    moved: list[dict[str, Any]] = []
    stays = []
    for live in served_by(host):
        stage = live.spec.where
        if not plan.can_move(live.spec):
            stays.append(stage)
            continue
        err().print(f"moving {escape(stage)}")
        try:
            moved.append(deploy.run("docker.deploy", plan.rollback_arguments(live), cancels=False))
        except DeploymentError as error:
            raise error.with_facts(stage=stage, moved=[each["deployment_id"] for each in moved]) from error
    return moved, stays


def _known(name: str) -> Host:
    found = {each.name: each for each in hosts().all()}
    if name not in found:
        raise _invalid(f"no worker has ever served host {name}; there are {', '.join(found) or 'none'}")
    return found[name]


def _invalid(reason: str) -> SpecInvalid:
    return SpecInvalid(f"The arguments of dw are wrong: host: {reason}.", {"fields": {"host": reason}})


def _described(host: Host) -> dict[str, Any]:
    return {
        "host": host.name,
        "state": _state(host),
        "silent_for": round(host.silent_for, 1),
        "drained": host.is_drained,
        "engine": host.told.engine,
        "cpus": host.told.cpus,
        "containers": host.told.containers,
        "under_way": host.under_way,
        "slots": host.told.slots,
        "free_disk": host.told.free_disk,
    }


def _state(host: Host) -> str:
    if host.is_away:
        return "away"
    if host.told.engine is None:
        return "no engine"
    return "drained" if host.is_drained else "there"


def _row(host: Host) -> tuple[str, ...]:
    state = _state(host)
    return (
        host.name,
        f"{state} for {host.silent_for:.0f} s" if host.is_away else state,
        host.told.engine or "",
        str(host.told.containers),
        str(host.under_way),
        str(host.told.slots),
        f"{host.told.free_disk / 1e9:.1f} GB" if host.told.free_disk is not None else "",
    )
