"""Sealing secrets, so that they are readable only in a worker that has the keys, and only for their own use."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from worker.errors import CredentialMissing
from worker.settings import Settings, SettingsInvalid, settings


def variable_purpose(project: str, stage: str, variable: str) -> str:
    """What a secret variable's value is sealed for: it opens for no other stage and under no other name."""
    return f"variable {variable} of {project}/{stage}"


class Keyring:
    """Fernet keys: the first seals, all open."""

    def __init__(self, keys: Iterable[str]) -> None:
        given = tuple(keys)
        self._fernets = tuple(Fernet(key) for key in given)
        self._fingerprint_keys = tuple(_fingerprint_key(key) for key in given)

    @property
    def has_keys(self) -> bool:
        return bool(self._fernets)

    def seal(self, secret: str, purpose: str) -> str:
        """Encrypt a secret for one purpose: opened for another, it is refused.

        Raises CredentialMissing where there is no key.
        """
        return self._cipher().encrypt(json.dumps([purpose, secret]).encode()).decode()

    def open(self, sealed: str, purpose: str) -> str:
        """Decrypt what was sealed for this purpose.

        Raises CredentialMissing where no key opens it, or it was sealed for something else.
        """
        try:
            sealed_for, secret = json.loads(self._cipher().decrypt(sealed.encode()))
        except InvalidToken:
            raise CredentialMissing(
                f"The secret of {purpose} can't be opened with the keys of this worker: give DW_KEYS the key "
                "that it was sealed with, or seal it anew."
            ) from None
        if sealed_for != purpose:
            raise CredentialMissing(f"The secret given for {purpose} was sealed for something else: seal it anew.")
        return str(secret)

    def is_current(self, sealed: str) -> bool:
        """Whether the first key opens it: then it needs no older one.

        Raises CredentialMissing where there is no key.
        """
        self.check_has_keys()
        try:
            self._fernets[0].decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    def reseal(self, sealed: str, purpose: str) -> str | None:
        """The same secret sealed with the first key; None where it is already.

        Raises CredentialMissing as `open` does.
        """
        secret = self.open(sealed, purpose)
        return None if self.is_current(sealed) else self.seal(secret, purpose)

    def fingerprints(self, content: str) -> tuple[str, ...]:
        """The fingerprint of a content under each key, the first's first; without keys, its plain SHA-256.

        Who lacks the keys can't even find out by guessing what it was made of.
        """
        if not self._fingerprint_keys:
            return (hashlib.sha256(content.encode()).hexdigest(),)
        return tuple(hmac.digest(key, content.encode(), "sha256").hex() for key in self._fingerprint_keys)

    @property
    def identities(self) -> tuple[str, ...]:
        """What tells keys apart, the first one's first; it tells nothing of the keys themselves."""
        return tuple(hmac.digest(key, b"identity", "sha256").hex()[:8] for key in self._fingerprint_keys)

    def check_has_keys(self) -> None:
        """Raises CredentialMissing where there is no key."""
        if not self._fernets:
            raise CredentialMissing(
                "There is no key to seal or open secrets with: set DW_KEYS or DW_KEYS_FILE to a Fernet key."
            )

    def _cipher(self) -> MultiFernet:
        self.check_has_keys()
        return MultiFernet(self._fernets)


def _fingerprint_key(key: str) -> bytes:
    # Not the key itself: one key is for one use.
    return HKDF(SHA256(), length=32, salt=None, info=b"fingerprint").derive(base64.urlsafe_b64decode(key))


@cache
def keyring() -> Keyring:
    """The keys of this process' settings.

    Raises SettingsInvalid.
    """
    keys = _configured(settings())
    try:
        return Keyring(key.get_secret_value() for key in keys)
    except ValueError:
        raise SettingsInvalid(
            "Wrong settings: DW_KEYS: each key must be 32 bytes in url-safe base64, as Fernet.generate_key() makes."
        ) from None


def _configured(values: Settings) -> tuple[SecretStr, ...]:
    if values.keys_file is None:
        return values.keys
    try:
        with values.keys_file.open() as file:
            # Of what is read, wherever a link leads by now.
            _check_private(values.keys_file, os.fstat(file.fileno()))
            lines = file.read().split()
    except OSError as error:
        raise SettingsInvalid(f"Wrong settings: DW_KEYS_FILE: {error.strerror}: {values.keys_file}.") from None
    return (*values.keys, *(SecretStr(line) for line in lines))


def _check_private(path: Path, status: os.stat_result) -> None:
    # systemd gives a service's user a right to its credentials by an ACL, which shows among those of the group.
    others = 0o007 if path.parent == Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) else 0o077
    if status.st_mode & others:
        raise SettingsInvalid(f"Wrong settings: DW_KEYS_FILE: {path} is open to others: chmod 600 it.")
    if status.st_uid not in {0, os.geteuid()}:
        raise SettingsInvalid(
            f"Wrong settings: DW_KEYS_FILE: {path} is another user's, who can change it: chown it to the worker's."
        )
