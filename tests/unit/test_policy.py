"""What the policy allows, as far as no service is needed to tell."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from worker.errors import PolicyDenied
from worker.policy import Policy, matches, policy
from worker.reference import ImageReference
from worker.settings import Settings, SettingsInvalid, settings


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for each in (settings, policy):
        each.cache_clear()
    yield
    for each in (settings, policy):
        each.cache_clear()


def public(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def policy_file(monkeypatch, tmp_path):
    def write(text, mode=0o644):
        path = tmp_path / "policy.toml"
        path.write_text(text)
        path.chmod(mode)
        monkeypatch.setenv("DW_POLICY_FILE", str(path))

    return write


@pytest.mark.parametrize(
    ("patterns", "image", "allowed"),
    [
        ("**", "anything/at/all", True),
        ("docker.io/library/*", "nginx", True),
        ("docker.io/library/*", "acme/nginx", False),
        ("127.0.0.1:5000/acme/*", "127.0.0.1:5000/acme/shop:1", True),
        ("127.0.0.1:5000/acme/*", "127.0.0.1:5000/acme/deep/shop", False),
        ("127.0.0.1:5000/acme/**", "127.0.0.1:5000/acme/deep/shop", True),
        ("docker.io/acme/*", "index.docker.io/acme/shop", True),
        ("docker.io/acme/*,docker.io/library/redis", "redis", True),
        ("docker.io/acme/shop", "acme/shop2", False),
        ("docker.io/acme/s?op", "acme/shop", True),
    ],
)
def test_images_are_matched_by_their_normalised_repository(monkeypatch, patterns, image, allowed):
    monkeypatch.setattr("worker.policy.settings", lambda: Settings(allowed_images=patterns))
    if allowed:
        Policy().check_image(ImageReference.parse(image))
    else:
        with pytest.raises(PolicyDenied, match=ImageReference.parse(image).name):
            Policy().check_image(ImageReference.parse(image))


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("{project}.*", "shop.data", True),
        ("{project}.*", "shopXdata", False),
        ("{project}.*", "other.data", False),
        ("{project}-{stage}", "shop-staging", True),
        ("{project}-{stage}", "{project}-{stage}", False),
        ("https://proxy.example.com/*", "https://proxy.example.com/a/b", False),
        ("https://proxy.example.com/**", "https://proxy.example.com/a/b", True),
        ("https://proxy.example.com/**", "https://proxy.example.com.evil.example/", False),
        ("data", "data\n", False),
        (".*", "data", False),
    ],
)
def test_a_pattern_means_the_stage_that_asks(pattern, text, fits):
    assert matches(pattern, text, "shop/staging") is fits


def test_where_there_is_no_stage_a_pattern_that_has_its_name_fits_nothing():
    assert not matches("net-{project}*", "net-other")


def test_a_stage_whose_name_is_a_pattern_is_no_pattern():
    assert not matches("{project}-data", "otherX-data", "other?/staging")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("imagse = []", "imagse"),
        ("images = 'docker.io/**'", "images"),
        ("volumes = ['{owner}-*']", "volumes"),
        ("images = ['{project}/*']", "images"),
        ("stages = ['{project}/*']", "stages"),
        ("host_ports = ['80-70000']", "host_ports"),
        ("memory = 'much'", "memory"),
        ("capabilities = ['all of them']", "capabilities"),
        ("[producers.ci]\nkey = 'none'\nstages = ['shop/*']", "producers.ci.key"),
        ("[producers.ci]\nstages = ['shop/*']", "producers.ci.key"),
        ("this is no TOML", "policy.toml"),
    ],
)
def test_a_wrong_policy_is_named(policy_file, text, named):
    policy_file(text)
    with pytest.raises(SettingsInvalid, match="DW_POLICY_FILE") as caught:
        policy()
    assert named in str(caught.value)


def test_a_policy_that_others_may_write_is_refused(policy_file):
    policy_file("", mode=0o666)
    with pytest.raises(SettingsInvalid, match="writable by others"):
        policy()


def test_a_policy_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DW_POLICY_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsInvalid, match=r"none\.toml: No such file"):
        policy()


def test_a_whole_policy_is_read(policy_file):
    key = Ed25519PrivateKey.generate()
    policy_file(f"""
        images = ["docker.io/library/*"]
        require_digest = true
        host_ports = ["18000-18999", "443-443"]
        memory = "512MiB"
        cpus = 2
        [producers.ci]
        key = '''{public(key)}'''
        stages = ["shop/*"]
    """)
    assert policy().host_ports == ((18_000, 18_999), (443, 443))
    assert policy().memory == 512 * 2**20
    assert policy().producers["ci"].stages == ("shop/*",)


def test_a_key_of_another_kind_is_refused(policy_file):
    key = generate_private_key(public_exponent=65_537, key_size=2048)
    policy_file(f"[producers.ci]\nkey = '''{public(key)}'''\nstages = ['shop/*']")
    with pytest.raises(SettingsInvalid, match="Ed25519"):
        policy()


def test_signatures_that_nobody_could_make_are_not_asked_for(monkeypatch):
    monkeypatch.setenv("DW_REQUIRE_SIGNATURE", "true")
    with pytest.raises(SettingsInvalid, match="DW_REQUIRE_SIGNATURE"):
        policy()
