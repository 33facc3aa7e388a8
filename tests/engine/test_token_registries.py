"""Registries that send the engine to a token service with its login, as the public ones do."""

import pytest

from tests.engine.token_registry import TokenRegistry
from worker.engine import Login
from worker.errors import PullDenied, RegistryUnavailable
from worker.reference import ImageReference


@pytest.fixture
def tokens(registry, login):
    tokens = TokenRegistry(registry, login)
    yield tokens
    tokens.close()


@pytest.fixture
def reference(make_image, registry, tokens):
    return ImageReference.parse(str(make_image("by-token", layers=[1000])).replace(registry, tokens.host))


def test_a_login_is_good_for_a_token(engine, reference, login):
    assert engine.images.pull(reference, login=login).digest


@pytest.mark.parametrize("other", [None, Login("deployer", "wrong")], ids=["none", "wrong"])
def test_no_token_without_the_right_login(engine, reference, other):
    with pytest.raises(PullDenied, match=str(reference)):
        engine.images.pull(reference, login=other)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ((401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}), PullDenied),
        ((403, {"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}), PullDenied),
        ((403, "no JSON that an engine expects"), PullDenied),
        ((429, {"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}), RegistryUnavailable),
        ((429, "no JSON that an engine expects"), RegistryUnavailable),
        ((500, {}), RegistryUnavailable),
        ((503, {}), RegistryUnavailable),
        ((200, {"no": "token"}), RegistryUnavailable),
    ],
)
def test_what_a_token_service_refuses_with(engine, reference, tokens, login, refusal, error):
    tokens.refusal = refusal
    with pytest.raises(error, match=str(reference)) as caught:
        engine.images.pull(reference, login=login)
    assert type(caught.value) is error
    assert login.password not in str(caught.value.args)
