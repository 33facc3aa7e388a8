"""What looks like a secret, and how texts are shown without one."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from worker.secrecy import has_password, is_secret_name, masked, without

SECRETS = ["hunter2", 'p"w\\d\n<ü&>', "four", "-----BEGIN KEY-----\nMIIEvg\n-----END KEY-----"]


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "DB_PASSWORD", "db-passwd", "PGPASSWORD", "SSH_PASSPHRASE", "SECRET", "app.secret", "TOKEN"),
        *("GITHUB_TOKEN", "API_KEY", "stripe.apikey", "AWS_SECRET_ACCESS_KEY", "ACCESS_KEY", "TLS_PRIVATE_KEY"),
        *("DJANGO_SECRET_KEY", "SECRETKEY", "GOOGLE_CREDENTIALS", "credential", "com.example/api-key"),
    ],
)
def test_a_secrets_name_is_known(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("DB_PASSWORD_FILE", "TOKEN_FILE", "PASSWORD_POLICY", "COLOUR", "KEYBOARD", "MONKEY", "PUBLIC_KEY", "TOKENS"),
        *("SECRETARY", "BIGTOKEN", "PORT", "docker-watcher.secret-variables"),
    ],
)
def test_other_names_are_left_alone(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("postgres://me:hunter2@db/shop", True),
        ("redis://:hunter2@cache:6379/0", True),
        ("see https://me:hunter2@example.com/x for more", True),
        ("postgres://me@db/shop", False),
        ("http://db:5432/a@b", False),
        ("postgres://me:@db/shop", False),
        ("me:hunter2@db", False),
    ],
)
def test_a_password_in_a_url_is_known(text, has):
    assert has_password(text) is has


def test_what_is_shown_of_json():
    asked = {
        "env": {"DB_PASSWORD": "hunter2", "A": "b", "URL": "a redis://:hunter2@cache/0 b"},
        "command": ["x", "https://me:hunter2@example.com"],
        "token": {"a": ["hunter2"]},
        "memory": 7,
    }
    assert masked(asked) == {
        "env": {"DB_PASSWORD": "***", "A": "b", "URL": "a redis://:***@cache/0 b"},
        "command": ["x", "https://me:***@example.com"],
        "token": "***",
        "memory": 7,
    }


FORMS = {
    "as it is": lambda secret: secret,
    "in JSON": json.dumps,
    "in JSON with its own letters": lambda secret: json.dumps(secret, ensure_ascii=False),
    "in JSON by Go": lambda secret: (
        json.dumps(secret, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    ),
    "in JSON in JSON": lambda secret: json.dumps(json.dumps({"Env": [f"A={secret}"]})),
    "by Python": repr,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a form": quote_plus,
    **{
        f"in base64 after {before}": lambda secret, before=before: base64.b64encode(
            f"{before}{secret}:more".encode()
        ).decode()
        for before in ("", "u", "me", "me:")
    },
    "in a header": lambda secret: base64.urlsafe_b64encode(json.dumps({"password": secret}).encode()).decode(),
}


@pytest.mark.parametrize("secret", SECRETS, ids=["plain", "special", "short", "lines"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_taken_out_however_it_is_written(form, secret):
    written = FORMS[form](secret)
    shown = without([secret], f"it said {written}, and more")
    assert "***" in shown
    assert shown.startswith("it said")
    assert shown.endswith(", and more")
    # A few letters of base64 hang together with what stands beside the secret: they remain.
    assert len(shown) < len(f"it said {written}, and more")
    assert secret not in shown


def test_a_line_of_a_secret_is_taken_out_where_the_others_are_cut_off():
    assert without([SECRETS[3]], "MIIEvg\n-----END KEY-----\nlistening") == "***\n***\nlistening"


def test_what_is_too_short_to_be_one_blots_nothing_out():
    assert without(["a", ""], "a banana") == "a banana"
