"""All that is stored sealed, to be sealed anew when keys are rotated: credentials, and secret variables in records."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from worker.errors import CredentialMissing
from worker.keyring import Keyring, variable_purpose
from worker.store.credentials import Credential
from worker.store.scripts import scripts


@dataclass(frozen=True)
class Resealed:
    """What became of sealed values."""

    renewed: int = 0
    """Sealed anew."""
    untouched: int = 0
    """Sealed with the first key already."""
    unopened: Sequence[str] = ()
    """What no key opens, as people call it; it stays as it is."""

    def __add__(self, other: "Resealed") -> "Resealed":
        return Resealed(
            self.renewed + other.renewed, self.untouched + other.untouched, [*self.unopened, *other.unopened]
        )


@dataclass(frozen=True)
class _Place:
    """Where a sealed value is in a JSON document."""

    holder: dict[str, Any]
    name: str
    purpose: str


class Sealed:
    """The sealed values of one installation, in the keys of `Credentials` and `Deployments`.

    Each is replaced by one Lua script of its own, so a run that is killed has lost nothing, and the next one goes on.
    """

    def __init__(self, connection: redis.Redis, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix
        self._replace = scripts(connection)["reseal"]

    def reseal_credentials(self, keyring: Keyring) -> Resealed:
        """Seal all credentials' passwords with the first key.

        Raises CredentialMissing where there is no key, `redis.RedisError`.
        """
        keyring.check_has_keys()
        key = f"{self._prefix}credentials"
        names = sorted(str(each) for each in self._redis.hkeys(key))
        return _sum(self._reseal(keyring, key, each, f"credential {each}", _password) for each in names)

    def reseal_variables(self, keyring: Keyring) -> Resealed:
        """Seal the secret variables in all records with the first key, of deployments under way too.

        Raises CredentialMissing where there is no key, `redis.RedisError`.
        """
        keyring.check_has_keys()
        prefix = f"{self._prefix}deployment:"
        # A scan can show a key twice.
        keys = sorted({str(each) for each in self._redis.scan_iter(match=f"{prefix}*", count=1000)})
        return _sum(
            self._reseal(keyring, each, "spec", f"deployment {each.removeprefix(prefix)}", _variables) for each in keys
        )

    def _reseal(
        self, keyring: Keyring, key: str, field: str, called: str, find: Callable[[dict[str, Any]], list[_Place]]
    ) -> Resealed:
        # Each further round is one that somebody else has changed it in.
        while (stored := self._redis.hget(key, field)) is not None:
            try:
                document = json.loads(stored)
                places = find(document)
            except (ValueError, TypeError, KeyError):
                return Resealed(unopened=[f"{called}, which is not as it was written"])
            done = _sum(_renew(keyring, each, called) for each in places)
            if not done.renewed or self._replace(keys=[key], args=[field, stored, json.dumps(document)]):
                return done
        return Resealed()


def _renew(keyring: Keyring, place: _Place, called: str) -> Resealed:
    try:
        renewed = keyring.reseal(place.holder[place.name], place.purpose)
    except CredentialMissing:
        return Resealed(unopened=[place.purpose if called in place.purpose else f"{place.purpose} ({called})"])
    if renewed is None:
        return Resealed(untouched=1)
    place.holder[place.name] = renewed
    return Resealed(renewed=1)


def _password(document: dict[str, Any]) -> list[_Place]:
    return [_Place(document, "sealed", Credential(**document).purpose)]


def _variables(document: dict[str, Any]) -> list[_Place]:
    # Not by its model: that would lose what another version of this code has written.
    sealed = document.get("secret_env", {})
    return [_Place(sealed, each, variable_purpose(document["project"], document["stage"], each)) for each in sealed]


def _sum(parts: Iterator[Resealed]) -> Resealed:
    return sum(parts, start=Resealed())
