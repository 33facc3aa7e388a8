"""Where the demo plays: its settings, its engine, what was checked so far, and how commands are shown."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from docker.errors import APIError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compose import engine
from compose.process import Daemon

#: How long a command may take here; a deployment takes seconds.
PATIENCE = 120


class DemoError(Exception):
    """The demo cannot go on."""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    status: int
    text: str


@dataclass
class Scene:
    """One run: a namespace, a network and a key of its own."""

    console: Console
    env: dict[str, str]
    namespace: str
    database: str
    client: engine.Client
    repository: str
    worker_env: Mapping[str, str] = field(default_factory=dict)
    worker_command: Callable[[Sequence[str]], list[str]] = list
    outcomes: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def program(self) -> str:
        """`dw`, as installed beside this Python."""
        return str(Path(sys.executable).with_name("dw"))

    def image(self, tag: str) -> str:
        """The name of a version."""
        return f"{self.repository}:{tag}"

    def step(self, text: str) -> None:
        """Say what comes next."""
        self.console.print(f"\n[bold cyan]{text}[/]")

    def show(self, text: str, style: str | None = None) -> None:
        """Print a line as it is, below the step."""
        self.console.print(f"  {text}", style=style, markup=False, soft_wrap=True)

    def check(self, what: str, *, passed: bool) -> None:
        """Say an outcome, and keep it for the summary."""
        what = escape(what)
        self.outcomes.append((what, passed))
        self.console.print(f"  [green]✓[/] {what}" if passed else f"  [red]✗ {what}[/]")

    def dw(self, *arguments: str, stdin: str = "") -> Answer:
        """Run `dw`; show the command and what it prints."""
        self.show(f"$ dw {' '.join(arguments)}", "dim")
        answer = self._run(arguments, stdin)
        for line in answer.text.splitlines():
            self.show(f"  {line}")
        return answer

    def listed(self) -> list[dict[str, Any]]:
        """The stage's containers as `dw ps` has them."""
        answer = self._run(["ps", "demo/staging", "--json"])
        if answer.status:
            raise DemoError(f"dw ps failed: {answer.text}")
        found: list[dict[str, Any]] = json.loads(answer.text)["containers"]
        return found

    def existing(self) -> list[str]:
        """Ids of this run's containers, running or not, as the engine has them."""
        label = f"docker-watcher.namespace={self.namespace}"
        found = self.client.containers(all=True, filters={"label": label})
        return [container["Id"] for container in found]

    @contextlib.contextmanager
    def worker(self, *options: str) -> Iterator[Daemon]:
        """A worker, started as anyone would."""
        celery = [sys.executable, "-m", "celery", "-A", "worker"]
        self.show("$ celery -A worker worker", "dim")
        state, env = Path(self.env["DW_SERVICES_STATE"]), {**self.env, **self.worker_env}
        daemon = Daemon("worker", self.worker_command([*celery, "worker", *options]), state, env)
        daemon.start()
        try:
            daemon.wait_until(lambda: self._responds(celery), 60)
            yield daemon
        finally:
            daemon.stop()

    def tidy(self) -> None:
        """Remove what this run made: on a given engine and Redis nobody else would."""
        for container in self.existing():
            with contextlib.suppress(APIError):
                self.client.remove_container(container, force=True, v=True)
        with contextlib.suppress(APIError):
            self.client.remove_network(self.namespace)
        with redis.Redis.from_url(self.database) as database:
            database.flushdb()
        self.client.close()

    def summarise(self, seconds: float) -> int:
        """Show all outcomes; return the status they amount to."""
        self.step(f"Done in {seconds:.0f} s")
        table = Table()
        table.add_column("What")
        table.add_column("Outcome")
        for what, passed in self.outcomes:
            table.add_row(what, "[green]ok[/]" if passed else "[red]failed[/]")
        self.console.print(table)
        return 0 if self.outcomes and all(passed for _, passed in self.outcomes) else 1

    def _responds(self, celery: list[str]) -> bool:
        ping = [*celery, "inspect", "ping", "--timeout", "1"]
        return subprocess.run(ping, env=self.env, capture_output=True, check=False).returncode == 0

    def _run(self, arguments: Sequence[str], stdin: str = "") -> Answer:
        done = subprocess.run(
            [self.program, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
            timeout=PATIENCE,
            check=False,
        )
        return Answer(done.returncode, done.stdout)
