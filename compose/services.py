"""Find or start engine, Redis and registry, run a command with them, stop what was started.

python -m compose.services -- COMMAND ARGUMENTS...
"""

import contextlib
import os
import sys
from pathlib import Path

from compose import containers, engine, isolation, jobimage, packages, redis, registry, relay, state
from compose.command import Command, InterruptedRunError, ignore_signals
from compose.engine import Engine
from compose.errors import UnavailableError
from compose.process import MARK, end_members
from compose.redis import Redis
from compose.registry import Registry

USAGE = "usage: python -m compose.services -- COMMAND [ARGUMENT ...]"
SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"


def main() -> int:
    """Run the command line."""
    argv = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not argv or argv[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    if "DW_SERVICES_REGISTRY" in os.environ:  # inside another run already
        os.execvp(argv[0], argv)  # noqa: S606
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PROGRAMS}"
    command = Command(argv)
    try:
        return run(command)
    except UnavailableError as error:
        print(f"services: {error}", file=sys.stderr)
        return 2
    except InterruptedRunError as error:
        return 128 + error.number


def run(command: Command) -> int:
    """Run one command with all services; what was started is stopped, in the reverse order."""
    isolation.adopt_orphans()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(state.claimed())
        stack.callback(end_members, folder)
        try:
            env = start(stack, folder)
            return command.run(env)
        finally:
            ignore_signals()


def start(stack: contextlib.ExitStack, folder: Path) -> dict[str, str]:
    """Find or start each service; return the environment that says where they are."""
    used_engine, used_redis = _engine_and_given_redis(stack, folder)
    client = stack.enter_context(contextlib.closing(used_engine.client()))
    containers.remove_leftovers(client, folder)
    used_redis = used_redis or _private_redis(stack, folder, client)
    used_registry = _registry(stack, folder, client)
    if not used_engine.started:
        registry.check_reach(client, used_registry)
    stack.callback(jobimage.remove_all, client, f"{used_registry.host}/")
    return {
        **os.environ,
        "DOCKER_HOST": used_engine.host,
        "DW_REDIS_URL": used_redis.url,
        "DW_SERVICES_ENGINE": "private" if used_engine.private else "given",
        "DW_SERVICES_ENGINE_TLS": used_engine.tls_host,
        "DW_SERVICES_REGISTRY": used_registry.host,
        "DW_SERVICES_REGISTRY_USER": used_registry.username,
        "DW_SERVICES_REGISTRY_PASSWORD": used_registry.password,
        MARK: str(folder),
    }


def _engine_and_given_redis(stack: contextlib.ExitStack, folder: Path) -> tuple[Engine, Redis | None]:
    """These two hang together: a private engine's network has no way to a given Redis but a relay."""
    found, given_redis = engine.given(), redis.given()
    if given_redis:
        _tell("redis", given_redis.version, redis.masked(given_redis.url), started=False)
    if not given_redis:
        redis.prepare()
    programs = None if found else engine.prepare(folder)
    if packages.can_install():
        wanted = [*registry.PROGRAMS, "busybox", "nginx", *(() if given_redis else redis.PROGRAMS)]
        packages.ensure(wanted)
    if found:
        _tell("engine", found.version, found.host, started=False)
        return found, given_redis
    way_out = stack.enter_context(relay.needed(given_redis.url, folder)) if given_redis else None
    isolation.isolate()
    started = stack.enter_context(engine.private(folder, programs))
    _tell("engine", started.version, started.host, started=True)
    if given_redis and way_out:
        return started, Redis(way_out.open(), given_redis.version)
    return started, given_redis


def _private_redis(stack: contextlib.ExitStack, folder: Path, client: engine.Client) -> Redis:
    contained = packages.missing(redis.PROGRAMS)
    service = redis.contained(client, folder) if contained else redis.private(folder)
    started = stack.enter_context(service)
    _tell("redis", started.version, started.url, started=True)
    return started


def _registry(stack: contextlib.ExitStack, folder: Path, client: engine.Client) -> Registry:
    contained = packages.missing(registry.PROGRAMS)
    service = registry.contained(client, folder) if contained else registry.private(folder)
    started = stack.enter_context(service)
    _tell("registry", f"user {started.username}", started.host, started=True)
    return started


def _tell(name: str, what: str, where: str, *, started: bool) -> None:
    print(f"{name:9} {'started' if started else 'found':8} {what:18} {where}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
