"""Which older instances make room for a new one, and which go."""

from collections.abc import Sequence

from worker.engine import Listed
from worker.errors import SpecInvalid
from worker.spec import DeploymentSpec

UP = {"running", "restarting", "paused"}
"""The states of a container that holds its ports, now or in a moment."""


def displaced(spec: DeploymentSpec, older: Sequence[Listed]) -> list[Listed]:
    """The older instances that are stopped before the new one is started, oldest first.

    Where both can't run at once, these are the ones that stand in its way; with `stop-first`, also those that it
    replaces.
    """
    if spec.strategy == "start-first":
        return []
    replaced = {each.id for each in surplus(older, spec.keep)} if spec.strategy == "stop-first" else set()
    up = [each for each in older if each.state in UP]
    return [each for each in up if each.id in replaced or stands_in_the_way(spec, each)][::-1]


def stands_in_the_way(spec: DeploymentSpec, other: Listed) -> bool:
    """Whether a running container has a host port, or a volume, that the new one must have for itself."""
    fixed = {(port.partition("/")[2], asked) for port, asked in spec.ports.items() if isinstance(asked, int)}
    if fixed and other.state == "restarting":
        # Its ports aren't listed until it runs once more.
        return True
    held = {(port.partition("/")[2], host_port) for port, host_port in other.ports.items()}
    exclusive = {name for name, volume in spec.volumes.items() if volume.exclusive}
    return bool(fixed & held or exclusive & set(other.volumes))


def surplus(older: Sequence[Listed], keep: int) -> list[Listed]:
    """The older instances, newest first, that go, oldest first; `keep` counts the live one."""
    return list(older[keep - 1 :])[::-1]


def can_move(spec: DeploymentSpec) -> bool:
    """Whether a stage may go to another host: it can be on two hosts for a while, and leaves no data behind."""
    return not spec.volumes and spec.strategy != "stop-first"


def check_move(spec: DeploymentSpec, hosts: Sequence[str]) -> None:
    """Refuse to move what can't from the hosts that have it.

    Raises SpecInvalid.
    """
    if not hosts or can_move(spec):
        return
    reason = "and its volumes' data stays there" if spec.volumes else "and stop-first can't be kept between two hosts"
    raise SpecInvalid(
        f"{spec.about} failed: the stage is on host {', '.join(hosts)}, {reason}; deploy it there, or remove it first.",
        {"step": "create", "image": spec.image, "fields": {"host": f"the stage is on {', '.join(hosts)}"}},
    )
