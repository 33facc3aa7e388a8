"""The services that `python -m compose.services` found or started: where they are, and how they are left."""

import contextlib
import os

import docker
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
    remove_containers(engine, namespace)
    for each in engine.networks(filters=_of(namespace)):
        # An engine (20.10) that removes what is only starting can keep its endpoint.
        for name in [endpoint["Name"] for endpoint in engine.inspect_network(each["Id"])["Containers"].values()]:
            engine.disconnect_container_from_network(name, each["Id"], force=True)
        engine.remove_network(each["Id"])


def remove_containers(engine, namespace):
    """Remove the containers that tests have left in a namespace."""
    for each in engine.containers(all=True, filters=_of(namespace)):
        with contextlib.suppress(docker.errors.NotFound):
            engine.remove_container(each["Id"], force=True, v=True)


def _of(namespace):
    return {"label": f"docker-watcher.namespace={namespace}"}
