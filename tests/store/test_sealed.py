"""Sealing anew what is stored, on a real Redis."""

import json
import uuid

import pytest
import redis
from cryptography.fernet import Fernet

from worker.errors import CredentialMissing
from worker.keyring import Keyring, variable_purpose
from worker.store import Credential, Credentials, Sealed

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
BOTH = Keyring([NEW, OLD])


@pytest.fixture
def connection(redis_url):
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


@pytest.fixture
def prefix(connection):
    prefix = f"dw:{uuid.uuid4().hex[:8]}:"
    yield prefix
    for key in connection.scan_iter(match=f"{prefix}*"):
        connection.delete(key)


@pytest.fixture
def sealed(connection, prefix):
    return Sealed(connection, prefix)


@pytest.fixture
def credentials(connection, prefix):
    return Credentials(connection, prefix)


@pytest.fixture
def record(connection, prefix):
    """Write a record with a secret variable, as far as it matters here."""

    def write(deployment_id, key=OLD, **more):
        purpose = variable_purpose("shop", "staging", "TOKEN")
        asked = {"project": "shop", "stage": "staging", "image": "acme/shop:1", **more}
        secrets = {"TOKEN": Keyring([key]).seal("hunter2", purpose)}
        connection.hset(
            f"{prefix}deployment:{deployment_id}",
            mapping={"spec": json.dumps({**asked, "secret_env": secrets}), "step": "ended"},
        )

    return write


def add(credentials, name, key=OLD, password="hunter2"):
    credentials.add(Credential.seal(Keyring([key]), name, "registry.example.com", "me", password))


def password(credentials, name, key=NEW):
    (credential,) = (each for each in credentials.list() if each.name == name)
    return credential.password(Keyring([key]))


def test_credentials_open_with_the_first_key_alone_and_are_left_as_they_are_then(
    sealed, credentials, connection, prefix
):
    add(credentials, "one")
    add(credentials, "two", key=NEW)
    done = sealed.reseal_credentials(BOTH)
    assert (done.renewed, done.untouched, done.unopened) == (1, 1, [])
    assert [password(credentials, each) for each in ("one", "two")] == ["hunter2", "hunter2"]
    before = connection.hgetall(f"{prefix}credentials")
    assert sealed.reseal_credentials(BOTH).untouched == 2
    assert connection.hgetall(f"{prefix}credentials") == before


def test_secrets_in_records_are_sealed_anew_and_nothing_else_changes(sealed, record, connection, prefix):
    key = f"{prefix}deployment:d1"
    record("d1", later={"known": "to a later version"}, env={"A": "ü"})
    before = connection.hgetall(key)
    connection.expire(key, 1000)
    assert sealed.reseal_variables(BOTH).renewed == 1
    after = connection.hgetall(key)
    was, now = json.loads(before.pop("spec")), json.loads(after.pop("spec"))
    secret = now.pop("secret_env")["TOKEN"]
    assert Keyring([NEW]).open(secret, variable_purpose("shop", "staging", "TOKEN")) == "hunter2"
    assert was.pop("secret_env")
    assert (now, after) == (was, before)
    assert connection.ttl(key) > 900
    assert sealed.reseal_variables(BOTH).untouched == 1


def test_what_no_key_opens_is_named_and_left_and_the_rest_is_done(sealed, credentials, record, connection, prefix):
    add(credentials, "lost", key=OTHER)
    connection.hset(f"{prefix}credentials", "broken", "{")
    add(credentials, "mine")
    record("d1", key=OTHER)
    record("d2")
    before = connection.hmget(f"{prefix}credentials", "lost", "broken")
    passwords, variables = sealed.reseal_credentials(BOTH), sealed.reseal_variables(BOTH)
    assert (passwords.renewed, variables.renewed) == (1, 1)
    assert [each.split()[1] for each in passwords.unopened] == ["broken,", "lost"]
    assert variables.unopened == ["variable TOKEN of shop/staging (deployment d1)"]
    assert connection.hmget(f"{prefix}credentials", "lost", "broken") == before


def test_a_password_that_is_changed_meanwhile_stays_changed(sealed, credentials):
    class Meddled(Keyring):
        """The first time that something is sealed anew, somebody is quicker."""

        changes = iter([lambda: add(credentials, "mine", password="second")])

        def reseal(self, sealed, purpose):
            next(self.changes, lambda: None)()
            return super().reseal(sealed, purpose)

    add(credentials, "mine", password="first")
    done = sealed.reseal_credentials(Meddled([NEW, OLD]))
    assert done.renewed == 1
    assert password(credentials, "mine") == "second"


def test_a_credential_that_is_removed_meanwhile_stays_removed(sealed, credentials):
    class Meddled(Keyring):
        def reseal(self, sealed, purpose):
            credentials.remove("mine")
            return super().reseal(sealed, purpose)

    add(credentials, "mine")
    assert sealed.reseal_credentials(Meddled([NEW, OLD])).renewed == 0
    assert credentials.list() == []


def test_without_keys_nothing_is_done(sealed, credentials):
    add(credentials, "mine")
    with pytest.raises(CredentialMissing, match="DW_KEYS"):
        sealed.reseal_credentials(Keyring([]))
    with pytest.raises(CredentialMissing, match="DW_KEYS"):
        sealed.reseal_variables(Keyring([]))
