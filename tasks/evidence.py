"""Why a container did not start, or was not proven: told before it is removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals

from worker.engine import Container, engine
from worker.engine.answer import Named
from worker.errors import DeploymentError, StartFailed, Unhealthy
from worker.spec import DeploymentSpec

_LINES = 20
_LONGEST_LINE = 500
_COMMAND_NOT_RUN = {126, 127}
"""The exit codes of inits and shells for what may not be executed, or isn't there, which some also say of a program
that is made for another kind of machine."""


def _evidence_of(container: Named) -> dict[str, object]:
    """Exit code, OOM flag, and the last lines of the container's output and of its health check, without secrets."""
    containers = engine().containers
    found = containers.inspect(container.id)
    return {
        "container": found.name,
        "exit_code": found.exit_code,
        "oom_killed": found.oom_killed,
        "logs": [line[:_LONGEST_LINE] for line in containers.logs(found, _LINES)],
        # A check can say many lines, of which the last tell most.
        "health_log": [said[-_LONGEST_LINE:] for said in found.health_log],
    }


@contextmanager
def with_evidence(container: Named) -> Iterator[None]:
    """Start or restart a container; StartFailed comes out with its evidence."""
    try:
        yield
    except StartFailed as error:
        raise error.with_facts(**_evidence_of(container)) from error


def check_command_ran(container: Container) -> None:
    """Refuse a container that was started and whose command, as far as is seen right after, could not be run.

    The engine tells that only where the command is process 1, and here the engine's own init is.

    Raises StartFailed.
    """
    if container.state != "running" and container.exit_code in _COMMAND_NOT_RUN:
        evidence = _evidence_of(container)
        raise StartFailed(
            f"Starting container {container.name} failed: it {_end(container, evidence)}.",
            {"step": "start", **evidence},
        )


def not_proven(spec: DeploymentSpec, container: Container, verdict: str | None, timeout: float) -> DeploymentError:
    """The error for a container that ended, turned unhealthy, or didn't become healthy in time."""
    evidence = _evidence_of(container)
    about = f"Starting container {container.name} of image {spec.image} failed"
    facts = {"step": "prove", "image": spec.image, **evidence}
    if verdict == "failed":
        return StartFailed(f"{about}: it {_end(container, evidence)}.", facts)
    # A part of it may have been killed for that, and what checks its health is one.
    but = f" and it ran out of {_memory(container)}" if evidence["oom_killed"] else ""
    # A check may say nothing, like `test -f`.
    said = _last_check(evidence) or _last_words(evidence)
    if verdict == "unhealthy":
        return Unhealthy(f"{about}: its health check fails{said}{but}; mend it or the image.", facts)
    return Unhealthy(
        f"{about}: it was not healthy within {timeout:g} s{said}{but}; mend the image, or give it longer with "
        "health.timeout.",
        facts,
    )


def _end(container: Container, evidence: dict[str, object]) -> str:
    """How a container ended, and what to do about it."""
    said = _last_words(evidence)
    if container.state == "running":
        return f"ended, and was started again by its restart policy{said}; mend the image or its command"
    ended = f"ended with exit code {container.exit_code}"
    if container.oom_killed:
        return f"ran out of {_memory(container)} and {ended}{said}; give it more with `memory`, or have it need less"
    image, host = engine().images.find(container.image_id), engine().platform()
    if image and image.platform != host:
        return f"{ended}{said}; the image is for {image.platform}, and the engine's host is {host}: build it for that"
    if container.exit_code in _COMMAND_NOT_RUN or "exec format error" in said:
        return (
            f"could not run its command and {ended}{said}; see that the command is in the image, may be executed, and "
            f"is made for {host}"
        )
    if container.exit_code == 0:
        return f"{ended}{said}, as if it were done; have its command stay in the foreground"
    return f"{ended}{_signal(container.exit_code)}{said}; mend the image or its command"


def _memory(container: Container) -> str:
    return f"its memory of {container.memory / 2**20:g} MiB" if container.memory else "memory"


def _signal(exit_code: int) -> str:
    try:
        return f", as by {Signals(exit_code - 128).name}"
    except ValueError:
        return ""


def _last_words(evidence: dict[str, object]) -> str:
    return _quoted("its last words were", evidence["logs"])


def _last_check(evidence: dict[str, object]) -> str:
    return _quoted("the last check said", evidence["health_log"])


def _quoted(introduction: str, lines: object) -> str:
    said = "\n".join(lines).split("\n") if isinstance(lines, list) else []
    last = next((line.strip() for line in reversed(said) if line.strip()), None)
    return f" ({introduction}: {last!r})" if last else ""
