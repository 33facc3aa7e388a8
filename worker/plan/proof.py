"""Whether a container is proven."""

from worker.engine import Container


def verdict(container: Container, *, stable: float, running_for: float) -> str | None:
    """`healthy` or `running` once a container is proven, `failed` or `unhealthy` if it never will be; else None."""
    if container.state != "running" or container.restart_count:
        return "failed"
    if container.health == "starting":
        return None
    if container.health is not None:
        return container.health
    return "running" if running_for >= stable else None


def was_killed(container: Container) -> bool:
    """Whether a container may have been ended from outside, as an engine does with what it finds after its own death.

    By SIGTERM, which servers answer with 0 or 128 + 15, or by SIGKILL, 128 + 9; 255 is what engines say of one that
    ended while they were away.
    """
    return container.state == "exited" and container.exit_code in {0, 137, 143, 255} and not container.oom_killed
