import subprocess
import sys

import pytest

from worker.settings import Settings, SettingsInvalid, settings


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DW_CONCURRENCY", "many"),
        ("DW_REDIS_URL", "http://127.0.0.1"),
        ("DW_REDIS_URL", "redis://127.0.0.1:port"),
        ("DW_REDIS_URL", "rediss://127.0.0.1/0?ssl_cert_reqs=none"),
        ("DW_BROKER_URL", "rediss://127.0.0.1/0?ssl_cert_reqs=none"),
        ("DW_RESULT_BACKEND", "rediss://127.0.0.1/0?ssl_ca_certs=/nowhere"),
        ("DW_NETWORK", "host"),
        ("DW_ENGINE_TIMEOUT", "0.5"),
        ("DW_NAMESPACE", "a b"),
        ("DW_STOP_TIMEOUT", "-1"),
        ("DW_LOG_FORMAT", "xml"),
        ("DW_PRUNE_KEEP", "1"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=variable) as caught:
        settings()
    assert f"{variable}: {value}" not in str(caught.value)


def test_lists_are_comma_separated(monkeypatch):
    monkeypatch.setenv("DW_KEYS", "one, two")
    monkeypatch.setenv("DW_ALLOWED_IMAGES", "docker.io/library/*,127.0.0.1:5000/acme/*")
    assert [key.get_secret_value() for key in settings().keys] == ["one", "two"]
    assert settings().allowed_images == ("docker.io/library/*", "127.0.0.1:5000/acme/*")


def test_settings_are_read_from_a_file_too(tmp_path):
    (tmp_path / ".env").write_text("DW_HOST=north\nDW_UNHEARD_OF=1\n")
    assert settings().host == "north"


def test_a_key_is_not_shown():
    assert "hunter2" not in repr(Settings(keys="hunter2"))


@pytest.mark.parametrize(("variable", "value"), [("DW_CONCURRENCY", "0"), ("DW_KEYS", "not-a-key")])
def test_a_worker_does_not_start_with_a_wrong_setting(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "worker"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert f"Wrong settings: {variable}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert f": {value}" not in ended.stderr


def test_a_worker_does_not_start_with_a_scaling_that_it_has_not():
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--autoscale=20,3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert "--autoscale doesn't go with" in ended.stderr
