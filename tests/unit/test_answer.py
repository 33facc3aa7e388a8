"""What the engine shows of containers, read without an engine."""

import pytest

from worker.engine.answer import container_of


@pytest.fixture
def health_log():
    """What is shown of what a health check has said."""

    def read(output, *secrets):
        names = [f"SECRET{number}" for number, _ in enumerate(secrets)]
        inspected = {
            "Id": "0123",
            "Name": "/shop",
            "Image": "sha256:0",
            "Created": "",
            "RestartCount": 0,
            "Config": {
                "Image": "shop",
                "Labels": {"secrets": ",".join(names)},
                "Env": [f"{name}={secret}" for name, secret in zip(names, secrets, strict=True)],
            },
            "HostConfig": {"RestartPolicy": {"Name": "no"}},
            "NetworkSettings": {},
            "State": {
                "Status": "running",
                "ExitCode": 0,
                "OOMKilled": False,
                "StartedAt": "",
                "Health": {"Status": "unhealthy", "Log": [{"Output": output}]},
            },
        }
        (shown,) = container_of(inspected, "secrets").health_log
        return shown

    return read


def test_what_a_health_check_says_is_shown_without_secrets(health_log):
    assert health_log("it is hunter2\n", "hunter2") == "it is ***"


def test_the_rest_of_a_secret_is_not_shown_where_the_engine_has_cut_what_was_said(health_log):
    said = "x" * (4096 - 4) + "hunt"
    assert "hunt" not in health_log(f"{said}...", "hunter2")
    assert health_log(f"{said}...").endswith("hunt...")
