"""`dw history`: what became of a stage's deployments, and of orders to it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from worker.reference import ImageReference
from worker.store import Past

_STYLES = {"live": "bold green", "running": "cyan", "failed": "bold red"}
_STATES = {
    "live": "live now",
    "replaced": "was live",
    "failed": "failed in step {step}",
    "cancelled": "cancelled in step {step}",
    "running": "at step {step}",
    "waiting": "waits for its stage",
}
_ORDERED = {each: f"order to {each}: " for each in ("stop", "restart", "remove")}
_MOST_STEPS = 3


def described(past: Past) -> dict[str, Any]:
    """A deployment for machines."""
    error = past.error
    return {
        "deployment_id": past.deployment_id,
        "action": past.action,
        "state": past.state,
        "step": past.step,
        "host": past.host,
        "image": past.image,
        "image_id": past.image_id,
        "digest": past.digest,
        "container_id": past.container_id,
        "container_name": past.container_name,
        "began": _time(past.created).isoformat(),
        "ended": _time(past.ended).isoformat() if past.ended else None,
        "took": round(past.ended - past.created, 3) if past.ended else None,
        "seconds": dict(past.seconds),
        "rollback_to": past.rollback_to,
        "superseded_by": past.superseded_by,
        "error": {"type": type(error).__name__, "message": error.message, "facts": error.facts} if error else None,
    }


def told(past: Past) -> str:
    """A deployment for people, in a few lines."""
    return "\n".join(_lines(past))


def _lines(past: Past) -> Iterable[str]:
    step = past.error.facts.get("step", past.step) if past.error else past.step
    state = _ORDERED.get(past.action, "") + escape(_STATES.get(past.state, past.state).format(step=step))
    took = f", took {past.ended - past.created:.1f} s" if past.ended else ""
    style = _STYLES.get(past.state, "bold")
    yield f"[{style}]{state}[/], {_time(past.created).astimezone():%Y-%m-%d %H:%M:%S}{took}"
    if past.superseded_by:
        yield escape(f"by {past.superseded_by}")
    if past.image:
        yield escape(_image(past.image, past.digest))
    if past.rollback_to:
        yield escape(f"rollback to {past.rollback_to}")
    if past.seconds:
        slowest = sorted(past.seconds.items(), key=lambda each: each[1], reverse=True)[:_MOST_STEPS]
        yield " ".join(f"{step} {seconds:.2f}" for step, seconds in slowest)
    if past.error and past.state == "failed":
        yield escape(f"{type(past.error).__name__}: {past.error.message}")


def _image(image: str, found: str | None) -> str:
    """By tag, where it has one, and the beginning of its digest."""
    reference = ImageReference.parse(image)
    digest = (found or reference.digest or "").removeprefix("sha256:")[:12]
    tag = f":{reference.tag}" if reference.tag else ""
    return f"{reference.name}{tag}" + (f" ({digest})" if digest else "")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
