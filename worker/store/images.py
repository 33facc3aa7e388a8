"""Which images docker-watcher pulled itself, and when a deployment last used them: what may be removed again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import redis

from worker.store.scripts import scripts


@dataclass(frozen=True)
class PulledImage:
    """What is known of an image."""

    names: frozenset[str]
    """What it was pulled as; none where somebody else has brought it."""
    used: float | None
    """When it was last pulled or found there, in seconds since 1970 by Redis' clock; None if never for a deployment."""


@dataclass(frozen=True)
class KnownImages:
    """What is known of all images, by id, at a time."""

    at: float
    images: Mapping[str, PulledImage]


class PulledImages:
    """The images of one installation on one host.

    All raise `redis.RedisError` where Redis can't be had. Keys:

    - `pulled:<host>` (hash): each name that an image was pulled as, and the id of that image
    - `used:<host>` (sorted set): the ids of images that deployments used, and when each was last used
    """

    def __init__(self, connection: redis.Redis, prefix: str, host: str) -> None:
        self._redis = connection
        self._names = f"{prefix}pulled:{host}"
        self._used = f"{prefix}used:{host}"
        run = scripts(connection)
        self._use, self._forget = run["use"], run["forget"]

    def note_pulled(self, image_id: str, names: Collection[str]) -> None:
        """Note that an image was brought under these names, which the engine didn't have it under."""
        self._redis.hset(self._names, mapping=dict.fromkeys(names, image_id))

    def note_used(self, image_id: str) -> None:
        """Note that a deployment uses an image, whoever has brought it."""
        self._use(keys=[self._used], args=[image_id, 0])

    def note_asked_for(self, image_id: str) -> None:
        """Note that somebody asks for an image for another end; it counts as used now if a deployment ever used it."""
        self._use(keys=[self._used], args=[image_id, 1])

    def known(self) -> KnownImages:
        """All that is known."""
        at = self._now()
        with self._redis.pipeline() as pipeline:
            pipeline.hgetall(self._names)
            pipeline.zrange(self._used, 0, -1, withscores=True)
            pulled, scores = pipeline.execute()
        used = dict(scores)
        names: dict[str, set[str]] = {image_id: set() for image_id in used}
        for name, image_id in pulled.items():
            names.setdefault(image_id, set()).add(name)
        return KnownImages(at, {each: PulledImage(frozenset(names[each]), used.get(each)) for each in names})

    def forget(self, image_id: str, known: KnownImages) -> None:
        """Forget an image that is no longer on the engine, unless it was used again since this was known of it."""
        self._forget(keys=[self._names, self._used], args=[image_id, known.at, *sorted(known.images[image_id].names)])

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)
