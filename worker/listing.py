"""Containers as they are told of, to callers and to other hosts."""

from collections.abc import Collection
from datetime import UTC, datetime

from worker.engine import Listed, engine
from worker.kept import needs_older_key
from worker.labels import Label
from worker.results import ListedContainer
from worker.secrecy import masked
from worker.settings import settings
from worker.store import ToldContainer, hosts


def described(container: Listed) -> ListedContainer:
    """A managed container of this host."""
    labels = engine().containers.labels
    sealed = {labels.key(Label.SPEC), labels.key(Label.PREVIOUS)}
    return ListedContainer(
        container_id=container.id,
        name=container.name,
        project=labels.value_of(container, Label.PROJECT),
        stage=labels.value_of(container, Label.STAGE),
        instance_id=labels.value_of(container, Label.INSTANCE),
        deployment_id=labels.deployment_of(container),
        host=settings().host,
        image=labels.value_of(container, Label.IMAGE),
        image_id=container.image_id,
        digest=labels.value_of(container, Label.DIGEST),
        state=container.state,
        status=container.status,
        created=datetime.fromtimestamp(container.created, UTC).isoformat(),
        ports=dict(container.ports),
        # All of a deployment's arguments are too much for a list. An image has labels of its own, of any name.
        labels=masked({name: value for name, value in container.labels.items() if name not in sealed}),
        older_key=needs_older_key(container),
    )


def tell(stage: str = "") -> None:
    """Tell other hosts which containers this one has; of one stage, or of all.

    Raises EngineUnavailable, RedisError.
    """
    labels = engine().containers.labels
    project, _, name = stage.partition("/")
    found = engine().containers.labelled(labels.select(project=project or None, stage=name or None))
    hosts().tell([_told(each) for each in found if labels.are_ours(each.labels)], stage)


def told_by_others(stages: Collection[str]) -> list[ListedContainer]:
    """The containers of some stages that other hosts have told of, of those that are away too.

    Raises RedisError.
    """
    found = [each for each in hosts().listed(sorted(stages)) if each[0] != settings().host]
    away = set(hosts().away()) if found else set()
    told = ((ListedContainer.model_validate_json(text), host in away) for host, text in found)
    return [container.model_copy(update={"host_away": is_away}) for container, is_away in told]


def _told(container: Listed) -> ToldContainer:
    told = described(container)
    return ToldContainer(container.id, container.name, told.where, told.model_dump_json())
