"""The services that `python -m compose.services` found or started: where they are, and how they are left."""

import os

import pytest


def required(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set: run the tests by `make test`, which finds or starts the services.", pytrace=False
        )
    return value


def remove_managed(engine, namespace):
    """Remove the containers and networks that tests have left in a namespace."""
    ours = {"label": f"docker-watcher.namespace={namespace}"}
    for each in engine.containers(all=True, filters=ours):
        engine.remove_container(each["Id"], force=True, v=True)
    for each in engine.networks(filters=ours):
        engine.remove_network(each["Id"])
