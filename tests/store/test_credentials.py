"""Credentials on a real Redis."""

import uuid

import pytest
import redis
from cryptography.fernet import Fernet

from worker.errors import CredentialMissing
from worker.keyring import Keyring
from worker.store import Credential, Credentials

KEYRING = Keyring([Fernet.generate_key().decode()])


@pytest.fixture
def credentials(redis_url):
    prefix = f"dw:{uuid.uuid4().hex[:8]}:"
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield Credentials(connection, prefix)
        connection.delete(f"{prefix}credentials")


def stored(credentials, name, registry):
    credential = Credential.seal(KEYRING, name, registry, "me", f"password of {name}")
    credentials.add(credential)
    return credential


def test_a_credential_is_found_by_name_or_by_the_only_one_of_its_registry(credentials):
    mine = stored(credentials, "mine", "registry.example.com")
    assert credentials.resolve("registry.example.com", "mine") == mine
    assert credentials.resolve("registry.example.com", None) == mine
    assert credentials.resolve("docker.io", None) is None
    assert mine.password(KEYRING) == "password of mine"


def test_several_of_one_registry_must_be_named(credentials):
    stored(credentials, "one", "registry.example.com")
    stored(credentials, "two", "registry.example.com")
    with pytest.raises(CredentialMissing, match="one, two"):
        credentials.resolve("registry.example.com", None)
    assert credentials.resolve("registry.example.com", "two").name == "two"


def test_a_credential_is_not_given_to_another_registry(credentials):
    stored(credentials, "mine", "registry.example.com")
    with pytest.raises(CredentialMissing, match=r"registry\.example\.com.*evil\.example\.com"):
        credentials.resolve("evil.example.com", "mine")


def test_a_missing_one_is_named(credentials):
    with pytest.raises(CredentialMissing, match="dw credential add mine"):
        credentials.resolve("registry.example.com", "mine")


def test_one_replaces_another_of_its_name_and_can_be_removed(credentials):
    stored(credentials, "mine", "one.example.com")
    stored(credentials, "mine", "two.example.com")
    assert [each.registry for each in credentials.list()] == ["two.example.com"]
    assert credentials.remove("mine")
    assert not credentials.remove("mine")
