"""Why a container did not start, or was not proven: told before it is removed."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.engine import Container
from worker.engine.answer import Named
from worker.engine.container import Containers
from worker.errors import DeploymentError, StartFailed, Unhealthy
from worker.spec import DeploymentSpec

_LINES = 20
_LONGEST_LINE = 500


def evidence_of(containers: Containers, container: Named) -> dict[str, object]:
    """Exit code, OOM flag, and the last lines of the container's output and of its health check, without secrets."""
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
def with_evidence(containers: Containers, container: Named) -> Iterator[None]:
    """Start or restart a container; StartFailed comes out with its evidence."""
    try:
        yield
    except StartFailed as error:
        raise error.with_facts(**evidence_of(containers, container)) from error


def not_proven(
    spec: DeploymentSpec,
    container: Container,
    verdict: str | None,
    timeout: float,
    evidence: dict[str, object],
) -> DeploymentError:
    """The error for a container that ended, turned unhealthy, or didn't become healthy in time."""
    about = f"Starting container {container.name} of image {spec.image} failed"
    facts = {"step": "prove", "image": spec.image, **evidence}
    if verdict == "failed":
        ended = f"ended with exit code {evidence['exit_code']}{_last_words(evidence)}"
        if evidence["oom_killed"]:
            return StartFailed(f"{about}: it ran out of memory and {ended}; give it more with `memory`.", facts)
        return StartFailed(f"{about}: it {ended}; mend the image or its command.", facts)
    # A part of it may have been killed for that, and what checks its health is one.
    but = " and it ran out of memory" if evidence["oom_killed"] else ""
    if verdict == "unhealthy":
        return Unhealthy(f"{about}: its health check fails{_last_check(evidence)}{but}; mend it or the image.", facts)
    return Unhealthy(
        f"{about}: it was not healthy within {timeout:g} s{_last_check(evidence)}{but}; mend the image, or give it "
        "longer with health.timeout.",
        facts,
    )


def _last_words(evidence: dict[str, object]) -> str:
    return _quoted("its last words were", evidence["logs"])


def _last_check(evidence: dict[str, object]) -> str:
    return _quoted("the last check said", evidence["health_log"])


def _quoted(introduction: str, lines: object) -> str:
    said = "\n".join(lines).split("\n") if isinstance(lines, list) else []
    last = next((line.strip() for line in reversed(said) if line.strip()), None)
    return f" ({introduction}: {last!r})" if last else ""
