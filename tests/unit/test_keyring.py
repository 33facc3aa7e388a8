import pytest
from cryptography.fernet import Fernet

from worker.errors import CredentialMissing
from worker.keyring import Keyring
from worker.store import Credential

FIRST, SECOND = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_the_first_key_seals_and_all_open():
    sealed = Keyring([FIRST]).seal("hunter2", "a")
    assert "hunter2" not in sealed
    assert Keyring([SECOND, FIRST]).open(sealed, "a") == "hunter2"


def test_without_the_right_key_the_error_says_what_to_do():
    sealed = Keyring([FIRST]).seal("hunter2", "credential x")
    with pytest.raises(CredentialMissing, match=r"credential x.*DW_KEYS"):
        Keyring([SECOND]).open(sealed, "credential x")
    with pytest.raises(CredentialMissing, match="DW_KEYS"):
        Keyring([]).open(sealed, "credential x")


def test_what_was_sealed_for_one_purpose_does_not_open_for_another():
    keyring = Keyring([FIRST])
    with pytest.raises(CredentialMissing, match="something else"):
        keyring.open(keyring.seal("hunter2", "variable A of shop/live"), "variable A of shop/test")


def test_a_credential_whose_registry_was_changed_does_not_open():
    keyring = Keyring([FIRST])
    mine = Credential.seal(keyring, "mine", "registry.example.com", "me", "hunter2")
    assert mine.password(keyring) == "hunter2"
    moved = Credential(mine.name, "evil.example.com", mine.username, mine.sealed)
    with pytest.raises(CredentialMissing):
        moved.password(keyring)


def test_a_fingerprint_is_another_under_another_key_and_under_none():
    first, second, none = (Keyring(keys).fingerprints("a") for keys in ([FIRST], [SECOND], []))
    assert len({*first, *second, *none}) == 3
    assert Keyring([SECOND, FIRST]).fingerprints("a") == (*second, *first)
    assert Keyring([FIRST]).fingerprints("b") != first
