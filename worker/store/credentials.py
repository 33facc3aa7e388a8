"""Registry credentials, sealed (R14): without the keys, Redis' contents give no password away."""

import json
from dataclasses import asdict, dataclass

import redis

from worker.errors import CredentialMissing
from worker.keyring import Keyring


@dataclass(frozen=True)
class Credential:
    """A user of one registry; `sealed` opens only for this name, registry and user."""

    name: str
    registry: str
    username: str
    sealed: str

    @classmethod
    def seal(cls, keyring: Keyring, name: str, registry: str, username: str, password: str) -> "Credential":
        """Make a credential.

        Raises CredentialMissing where there is no key.
        """
        return cls(name, registry, username, keyring.seal(password, _purpose(name, registry, username)))

    @property
    def purpose(self) -> str:
        """What its password is sealed for."""
        return _purpose(self.name, self.registry, self.username)

    def password(self, keyring: Keyring) -> str:
        """Open the password.

        Raises CredentialMissing where no key opens it, or somebody changed the registry or user beside it.
        """
        return keyring.open(self.sealed, self.purpose)


def _purpose(name: str, registry: str, username: str) -> str:
    return f"credential {name} of {username} at {registry}"


class Credentials:
    """The stored credentials of one installation, in the hash `credentials`."""

    def __init__(self, connection: redis.Redis, prefix: str) -> None:
        self._redis = connection
        self._key = f"{prefix}credentials"

    def add(self, credential: Credential) -> None:
        """Store a credential in place of any other of its name."""
        self._redis.hset(self._key, credential.name, json.dumps(asdict(credential)))

    def remove(self, name: str) -> bool:
        """Forget a credential; False if there was none of that name."""
        return bool(self._redis.hdel(self._key, name))

    def list(self) -> list[Credential]:
        """All of them, by name."""
        stored = self._redis.hgetall(self._key)
        return [Credential(**json.loads(text)) for _, text in sorted(stored.items())]

    def resolve(self, registry: str, name: str | None) -> Credential | None:
        """The credential of this name, or else the registry's only one, or None: then the pull is anonymous.

        Raises CredentialMissing where the named one isn't there or is another registry's, or where several fit.
        """
        if name is None:
            return self._only_one_of(registry)
        credential = next((each for each in self.list() if each.name == name), None)
        if credential is None:
            raise CredentialMissing(
                f"There is no stored credential {name}: add it with `dw credential add {name}`.",
                {"credential": name, "registry": registry},
            )
        if credential.registry != registry:
            raise CredentialMissing(
                f"Credential {name} is for registry {credential.registry} and is not offered to {registry}: "
                "name one of that registry.",
                {"credential": name, "registry": registry},
            )
        return credential

    def _only_one_of(self, registry: str) -> Credential | None:
        fitting = [each for each in self.list() if each.registry == registry]
        if len(fitting) > 1:
            names = ", ".join(each.name for each in fitting)
            raise CredentialMissing(
                f"Several stored credentials are for registry {registry} ({names}): name the one to use.",
                {"registry": registry},
            )
        return fitting[0] if fitting else None
