"""From enqueueing to `SUCCESS`, image present, no health gate: against the same engine calls, and other tools."""

import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

import docker

from benchmarks import bare, tools
from benchmarks.installation import Installation, clear, ended, job_image, real_engine
from benchmarks.measure import Line, Spread, in_turn, percentile, ratios, say, seconds_of

_BATCH = 10
_numbers = count(1)


def run(*, quick: bool = False) -> list[Line]:
    """A deployment by itself, policy `missing`, against a bare script."""
    batches = 1 if quick else 6
    say(f"one deployment at a time, policy missing, `stable: 0`, against a bare script: {batches} batches of {_BATCH}")
    with real_engine() as api, Installation() as ours, ours.worker():
        image = job_image(api)
        ended([ours.deploy(image)])
        taken = [_batch(ours, api, image) for _ in range(batches)]
        clear(api, f"docker-watcher.namespace={ours.namespace}")
    mine, other = ([values for pair in taken for values in pair[side]] for side in (0, 1))
    middles = Spread([percentile(a, 50) / percentile(b, 50) for a, b in taken])
    highs = Spread([percentile(a, 95) / percentile(b, 95) for a, b in taken])
    for name, values in (("enqueue to SUCCESS", mine), ("bare script", other)):
        say(f"  {name}: p50 {percentile(values, 50) * 1000:.0f} ms, p95 {percentile(values, 95) * 1000:.0f} ms")
    p50, p95 = (percentile(mine, each) / percentile(other, each) for each in (50, 95))
    say(f"  p50 ratio {p50:.2f}, by batch {middles.shown()}; p95 ratio {p95:.2f}, by batch {highs.shown()}")
    return [_line("p50", p50, middles, 1.05), _line("p95", p95, highs, 1.15)]


def _line(name: str, ratio: float, batches: Spread, most: float) -> Line:
    what = f"enqueue to `SUCCESS`, image present, no health gate, {name}"
    found = f"{ratio:.2f} (batches {batches.low:.2f} to {batches.high:.2f})"
    return Line(what, "the same engine calls by a bare script", found, f"<= {most}", ratio <= most)


def _batch(ours: Installation, api: docker.APIClient, image: str) -> tuple[list[float], list[float]]:
    mine, other = in_turn(
        _BATCH,
        lambda: seconds_of(lambda: ended([ours.deploy(image)])),
        lambda: seconds_of(lambda: bare.deploy(api, image, ours.network)),
    )
    _remove(api, ours)
    return list(mine.values), list(other.values)


def _remove(api: docker.APIClient, ours: Installation) -> None:
    for label in (f"docker-watcher.namespace={ours.namespace}", bare.LABEL):
        for each in api.containers(all=True, filters={"label": label}):
            api.remove_container(each["Id"], force=True, v=True)


def run_others(*, quick: bool = False) -> list[Line]:
    """The same against `docker run -d`, `docker compose up -d` and Ansible."""
    rounds = 1 if quick else 12
    say(f"one deployment, image present, no health gate, against other tools: {rounds} rounds, one of each in turn")
    lines = []
    with real_engine() as api, Installation() as ours, ours.worker():
        image = job_image(api)
        ended([ours.deploy(image)])
        others = {
            "`docker run -d`": (_docker_run(ours, image), 1.15),
            "`docker compose up -d`": (_compose_up(ours, image), 1.0),
            "Ansible's `docker_container`": (None if quick else _ansible(ours, image), 1.0),
        }
        for name, (other, most) in others.items():
            lines.append(_against(ours, image, name, other, most, rounds))
            _remove(api, ours)
        clear(api, f"docker-watcher.namespace={ours.namespace}")
    return lines


def _against(
    ours: Installation, image: str, name: str, other: Callable[[], object] | None, most: float, rounds: int
) -> Line:
    what, target = "enqueue to `SUCCESS`, image present, no health gate", f"<= {most:g}"
    if other is None:
        say(f"  NOT MEASURED against {name}: it can't be had here")
        return Line(what, name, "not measured: it can't be had here", target, None)
    # It is not to pay for what its first run sets up.
    other()
    mine, its = in_turn(rounds, lambda: seconds_of(lambda: ended([ours.deploy(image)])), lambda: seconds_of(other))
    found = ratios(mine, its)
    say(f"  ours {mine.shown(' ms', 1000)}, {name} {its.shown(' ms', 1000)}: ratio {found.shown()}")
    return Line(what, name, found.shown(), target, found.middle <= most)


def _run(ours: Installation, *command: str | Path, folder: Path | None = None) -> None:
    environment = {**ours.environment, "DOCKER_API_VERSION": "1.41"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr or done.stdout}")


def _docker_run(ours: Installation, image: str) -> Callable[[], object] | None:
    if not shutil.which("docker"):
        return None
    named = ("--label", bare.LABEL, "--network", ours.network, "--publish", "8080", "--restart", "always")
    return lambda: _run(
        ours, "docker", "run", "--detach", *named, "--name", f"run-{next(_numbers)}-{ours.namespace}", image
    )


def _compose_up(ours: Installation, image: str) -> Callable[[], object] | None:
    program = tools.compose()
    if program is None:
        return None
    folder = ours.folder / "composed"
    folder.mkdir(exist_ok=True)
    service = {
        "image": image,
        "ports": ["8080"],
        "restart": "always",
        "networks": ["shared"],
        "labels": {bare.LABEL: ""},
    }
    networks = {"shared": {"name": ours.network, "external": True}}
    (folder / "compose.yaml").write_text(json.dumps({"services": {"web": service}, "networks": networks}))
    return lambda: _run(ours, program, "--project-name", f"up{next(_numbers)}", "up", "--detach", folder=folder)


def _ansible(ours: Installation, image: str) -> Callable[[], object] | None:
    if not tools.ANSIBLE.exists():
        return None
    asked = {
        "image": image,
        "published_ports": ["8080"],
        "networks": [{"name": ours.network}],
        "networks_cli_compatible": True,
        "restart_policy": "always",
        "labels": {bare.LABEL: ""},
        "docker_host": ours.engine,
        "pull": "missing",
    }
    python = f"ansible_python_interpreter={tools.ANSIBLE.with_name('python')}"
    module = ("localhost", "-c", "local", "-e", python, "-m", "community.docker.docker_container")
    return lambda: _run(
        *(ours, tools.ANSIBLE, *module, "-a"),
        json.dumps({**asked, "name": f"ansible-{next(_numbers)}-{ours.namespace}"}),
    )
