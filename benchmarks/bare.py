"""A plain deployment's engine calls, made in a row by the SDK's low-level client: the least that it can cost.

The same calls as docs/engine-calls.md lists and tests/flow/test_plain_deployment.py sees at the engine.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import docker
from docker.types import LogConfig

from compose.engine import connect

LABEL = f"docker-watcher.bare-{os.getpid()}"
_numbers = count(1)


def client() -> docker.APIClient:
    return connect(os.environ["DOCKER_HOST"])


def deploy(api: docker.APIClient, image: str, network: str) -> str:
    """Make and start a container as a worker does; returns its id."""
    found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]  # so are its stubs
    name = f"bare-{os.getpid()}-{next(_numbers)}"
    labels = {LABEL: name}
    api.containers(all=True, filters={"label": [f"{LABEL}={name}"]})
    api.networks(names=[network])
    host_config = api.create_host_config(
        network_mode=network,
        port_bindings={"8080/tcp": None},
        cap_drop=["ALL"],
        cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        security_opt=["no-new-privileges"],
        restart_policy={"Name": "no", "MaximumRetryCount": 0},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
    )
    endpoint = api.create_endpoint_config()
    made = api.create_container(
        image=found["Id"],
        name=name,
        use_config_proxy=False,
        labels=labels,
        ports=[("8080", "tcp")],
        host_config=host_config,
        networking_config={"EndpointsConfig": {network: endpoint}},
    )
    container = str(made["Id"])
    api.start(container)
    api.inspect_container(container)
    api.inspect_container(container)
    api.containers(all=True, filters={"label": [f"{LABEL}={name}"]})
    api.update_container(container, restart_policy={"Name": "always", "MaximumRetryCount": 0})
    api.inspect_container(container)
    return container


def deploy_many(number: int, threads: int, image: str, network: str) -> None:
    """So many deployments by so many threads, each with a connection of its own."""
    clients = [client() for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        shares: list[Callable[[], object]] = [
            lambda api=api, share=share: [deploy(api, image, network) for _ in range(share)]  # type: ignore[misc]
            for api, share in zip(clients, _shares(number, threads), strict=True)
        ]
        for each in [pool.submit(share) for share in shares]:
            each.result()
    for api in clients:
        api.close()


def _shares(number: int, threads: int) -> list[int]:
    return [number // threads + (place < number % threads) for place in range(threads)]
