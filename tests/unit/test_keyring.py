import os

import pytest
from cryptography.fernet import Fernet

from worker.errors import CredentialMissing
from worker.keyring import Keyring, keyring
from worker.settings import Settings, SettingsInvalid
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


def test_a_secret_is_sealed_anew_unless_the_first_key_has_it_already():
    rotated, old = Keyring([SECOND, FIRST]), Keyring([FIRST]).seal("hunter2", "a")
    renewed = rotated.reseal(old, "a")
    assert Keyring([SECOND]).open(renewed, "a") == "hunter2"
    assert (rotated.is_current(old), rotated.is_current(renewed), rotated.reseal(renewed, "a")) == (False, True, None)
    with pytest.raises(CredentialMissing, match="something else"):
        rotated.reseal(old, "b")


@pytest.fixture
def keys_of(monkeypatch):
    """The keyring of a file."""

    def read(path):
        monkeypatch.setattr("worker.keyring.settings", lambda: Settings(keys_file=path))
        keyring.cache_clear()
        return keyring()

    yield read
    keyring.cache_clear()


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{FIRST}\n{SECOND}\n")
    path.chmod(0o600)
    return path


def test_keys_are_read_from_a_file_that_is_ones_own(keys_of, keys_file, tmp_path):
    (tmp_path / "link").symlink_to(keys_file)
    for path in (keys_file, tmp_path / "link"):
        assert keys_of(path).open(Keyring([SECOND]).seal("hunter2", "a"), "a") == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_is_open_to_others_is_refused(keys_of, keys_file, tmp_path, mode):
    keys_file.chmod(mode)
    (tmp_path / "link").symlink_to(keys_file)
    for path in (keys_file, tmp_path / "link"):
        with pytest.raises(SettingsInvalid, match=r"DW_KEYS_FILE.*chmod 600") as caught:
            keys_of(path)
        assert FIRST not in str(caught.value)


@pytest.mark.needs_root
def test_a_file_of_another_user_is_refused(keys_of, keys_file):
    os.chown(keys_file, 12345, -1)
    with pytest.raises(SettingsInvalid, match="another user's"):
        keys_of(keys_file)


def test_a_file_that_is_not_there_is_named(keys_of, tmp_path):
    with pytest.raises(SettingsInvalid, match=r"DW_KEYS_FILE: No such file.*none"):
        keys_of(tmp_path / "none")
