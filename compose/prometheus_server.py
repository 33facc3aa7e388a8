"""Prometheus from Debian, for the tests that have it scrape a worker, and its tool that checks rules."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from compose.ports import free_port
from compose.process import Daemon

PROGRAMS = ("prometheus", "promtool")
STARTS_WITHIN = 60


@contextlib.contextmanager
def private(state: Path, config: Path) -> Iterator[str]:
    """One with this configuration that keeps what it has in a folder of its own, and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    daemon = Daemon(
        "prometheus",
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={state / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        state,
    )
    daemon.start()
    try:
        daemon.wait_until(lambda: answers(url), STARTS_WITHIN)
        yield url
    finally:
        daemon.stop()


def answers(url: str) -> bool:
    """Whether it answers questions."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=3):  # noqa: S310  # of this machine
            return True
    except OSError:
        return False


def firing(url: str) -> dict[str, str]:
    """The alerts that fire, by name, and what each says."""
    with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=10) as answer:  # noqa: S310  # of this machine
        alerts = json.load(answer)["data"]["alerts"]
    return {each["labels"]["alertname"]: each["annotations"]["summary"] for each in alerts if each["state"] == "firing"}
