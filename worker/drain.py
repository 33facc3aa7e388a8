"""What is to be deployed elsewhere before a host is taken down."""

from collections.abc import Iterator

from worker.record import Version
from worker.results import ListedContainer
from worker.store import deployments, hosts


def served_by(host: str) -> Iterator[Version]:
    """What is live in a host's stages and runs there; each is looked at when its turn comes.

    What somebody stopped is left out: to deploy it elsewhere would start it.

    Raises RedisError.
    """
    for stage in deployments().stages(host):
        live = deployments().live(stage)
        if live and _runs(live, host):
            yield live


def _runs(version: Version, host: str) -> bool:
    told = (
        ListedContainer.model_validate_json(text) for name, text in hosts().listed([version.spec.where]) if name == host
    )
    return any(each.deployment_id == version.deployment_id and each.state == "running" for each in told)
