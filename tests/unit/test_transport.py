"""Which registries an engine would tell a password in clear, by what it says of itself."""

import socket

import pytest

from worker.engine.transport import AddressUnknown, exposed, is_this_machine

LOOPBACK = ["127.0.0.0/8", "::1/128"]


def config(*networks, mirrors=(), **indexes):
    named = {name: {"Name": name, "Secure": secure} for name, secure in indexes.items()}
    return {
        "InsecureRegistryCIDRs": [*LOOPBACK, *networks],
        "IndexConfigs": {"docker.io": {"Name": "docker.io", "Secure": True}, **named},
        "Mirrors": list(mirrors),
    }


INSECURE = config("192.0.2.0/24", "fd00::/8", **{"registry.example.com:5000": False, "Shouted.Example.com": False})
EVERYWHERE = config("0.0.0.0/0", "::/0", **{"registry.example.com": True})


@pytest.mark.parametrize(
    ("registry", "by"),
    [
        ("registry.example.com:5000", INSECURE),
        ("shouted.example.com", INSECURE),
        ("192.0.2.7", INSECURE),
        ("192.0.2.7:5000", INSECURE),
        ("[fd00::7]:5000", INSECURE),
        ("[::ffff:192.0.2.7]", INSECURE),
        ("198.51.100.1", EVERYWHERE),
        ("0.0.0.0:5000", EVERYWHERE),
        # Others' resolvers may lead it elsewhere.
        ("localhost.localdomain:5000", config(**{"localhost.localdomain:5000": False})),
    ],
)
def test_an_insecure_registry_is_told(registry, by):
    assert exposed(by, registry) == registry


@pytest.mark.parametrize(
    ("registry", "by"),
    [
        ("docker.io", INSECURE),
        ("docker.io", EVERYWHERE),
        ("registry.example.com", EVERYWHERE),
        ("198.51.100.1:5000", INSECURE),
        ("[fe80::7]", INSECURE),
        # No name is looked up where no insecure network is any but loopback.
        ("no-such-host.invalid", config()),
        ("docker.io", config(mirrors=["https://mirror.example.com/", "http://127.0.0.1:5000/", "http://localhost/"])),
        ("registry.example.com", config(mirrors=["http://mirror.example.com/"])),
    ],
)
def test_a_secure_one_is_not(registry, by):
    assert exposed(by, registry) is None


def test_a_name_is_insecure_where_its_address_is():
    named = f"{socket.gethostname()}:5000"
    assert exposed(EVERYWHERE, named) == named
    assert exposed(config("198.51.100.0/24"), named) is None


@pytest.mark.parametrize(
    ("mirror", "by"),
    [
        ("mirror.example.com", config(mirrors=["http://mirror.example.com/"])),
        ("192.0.2.7:5000", config("192.0.2.0/24", mirrors=["https://192.0.2.7:5000/"])),
        ("mirror.example.com", config(mirrors=["https://mirror.example.com/"], **{"mirror.example.com": False})),
    ],
)
def test_the_hubs_password_is_no_mirrors_in_clear(mirror, by):
    assert exposed(by, "docker.io") == mirror


def test_a_name_that_nobody_knows_is_not_taken_for_secure():
    with pytest.raises(AddressUnknown):
        exposed(INSECURE, "no-such-host.invalid")


@pytest.mark.parametrize("registry", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"])
def test_this_machine_is_known_without_a_question(registry):
    assert is_this_machine(registry)


@pytest.mark.parametrize("registry", ["docker.io", "localhost.example.com", "127.example.com", "0.0.0.0", "192.0.2.7"])
def test_all_others_are_asked_about(registry):
    assert not is_this_machine(registry)
