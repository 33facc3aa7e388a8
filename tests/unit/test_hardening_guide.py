"""The examples of the hardening guide are what the worker reads, and takes."""

import re
import tomllib
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from worker import signature
from worker.policy import Policy

GUIDE = (Path(__file__).parents[2] / "docs/hardening.md").read_text()


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def policy(key):
    closed, producers = examples("toml")
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    producers = re.sub(r"-----BEGIN.*END PUBLIC KEY-----\n", pem, producers, flags=re.DOTALL)
    return Policy.model_validate(tomllib.loads(closed + producers))


def test_its_policy_says_something_of_all_that_a_policy_is_about(policy):
    assert policy.model_fields_set == Policy.model_fields.keys()


def test_its_signature_is_one(policy, key, monkeypatch):
    monkeypatch.setattr(signature, "policy", lambda: policy)
    sent = []
    app = SimpleNamespace(send_task=lambda task, **options: sent.append((task, options)))
    (program,) = examples("python")
    names = {}
    exec(program, names)  # it is what the guide shows
    arguments = {"project": "shop", "stage": "staging", "cpus": 0.5, "env": {"ÄÖ": "\u2028"}}
    names["send"](app, "ci", key, "docker.deploy", arguments)
    ((task, options),) = sent
    verified = signature.verified(task, options["task_id"], options["kwargs"], options["headers"][signature.HEADER])
    assert verified.producer == "ci"
    with pytest.raises(signature.PolicyDenied):
        signature.verified(task, str(uuid.uuid4()), arguments, options["headers"][signature.HEADER])
