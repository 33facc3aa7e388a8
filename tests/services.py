"""Where the services are that `python -m compose.services` found or started."""

import os

import pytest


def required(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set: run the tests by `make test`, which finds or starts the services.", pytrace=False
        )
    return value
