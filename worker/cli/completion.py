"""What the shell is offered for a word that is begun: names from the store, or nothing where that can't be had soon."""

import threading
from collections.abc import Callable, Iterable

import typer

_PATIENCE = 3.0
"""Seconds: somebody waits with a finger on the key."""
Offer = tuple[str, str]
"""A word, and what it means."""


def stages(incomplete: str) -> list[Offer]:
    """Each stage as PROJECT/STAGE."""
    return _offered(incomplete, _stages)


def under_way(incomplete: str) -> list[Offer]:
    """The ids of deployments that can be cancelled."""
    return _offered(incomplete, _under_way)


def lives(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The ids of deployments that were live in the stage that was given."""
    # An option that still lacks its value leaves arguments unread.
    stage = str(ctx.params.get("stage") or next(iter(ctx.args), ""))
    return _offered(incomplete, lambda: _lives(stage)) if stage else []


def hosts(incomplete: str) -> list[Offer]:
    """Each host's name."""
    return _offered(incomplete, _hosts)


def credentials(incomplete: str) -> list[Offer]:
    """Each stored credential's name."""
    return _offered(incomplete, _credentials)


def one_of(*words: str) -> Callable[[str], list[str]]:
    """Offer these."""
    return lambda incomplete: [each for each in words if each.startswith(incomplete)]


def _offered(incomplete: str, find: Callable[[], Iterable[Offer]]) -> list[Offer]:
    found: list[Offer] = []

    def look() -> None:
        from redis.exceptions import RedisError

        from worker.settings import SettingsInvalid

        try:
            found.extend(each for each in find() if each[0].startswith(incomplete))
        except (RedisError, SettingsInvalid):
            # Whoever completes a word has no eyes for what is wrong elsewhere: the command itself will tell.
            return

    # In a thread, as nothing else bounds all of it: names are looked up, connections made, questions asked.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)


def _stages() -> Iterable[Offer]:
    from worker import store

    known = {each for host in store.hosts().names() for each in store.deployments().stages(host)}
    return [(each, "") for each in sorted(known)]


def _under_way() -> Iterable[Offer]:
    from worker import store

    claims = [each for host in store.hosts().names() for each in store.deployments().stranded(host)]
    return [(each.id, f"{each.asked.where} at step {each.step}") for each in claims]


def _lives(stage: str) -> Iterable[Offer]:
    from worker import store

    return [(each.deployment_id, each.spec.image) for each in store.deployments().lives(stage)]


def _hosts() -> Iterable[Offer]:
    from worker import store

    return [(each, "") for each in store.hosts().names()]


def _credentials() -> Iterable[Offer]:
    from worker import store

    return [(each.name, f"{each.username} at {each.registry}") for each in store.credentials().list()]
