"""`docker.list`: the managed containers (R7)."""

from datetime import UTC, datetime

from tasks.adopt import needs_older_key
from tasks.base import Result, operation
from worker.engine import Listed, engine
from worker.labels import Label, Labels
from worker.secrecy import masked
from worker.settings import Name
from worker.signature import may_touch
from worker.spec import Arguments, LabelName, Text


class ListArguments(Arguments):
    project: Name | None = None
    stage: Name | None = None
    instance_id: Name | None = None
    labels: dict[LabelName, Text] = {}
    """An empty value asks for the label, whatever its value."""
    all: bool = False
    """Stopped ones too."""


class ListedContainer(Result):
    container_id: str
    name: str
    project: str
    stage: str
    instance_id: str
    deployment_id: str
    image: str
    image_id: str
    digest: str
    state: str
    status: str
    created: str
    ports: dict[str, int]
    labels: dict[str, str]
    older_key: bool
    """Whether what its labels keep sealed takes another key than the first, which is so until its next deployment."""


class ListResult(Result):
    containers: list[ListedContainer]


@operation("docker.list")
def list_(arguments: ListArguments) -> ListResult:
    """List this namespace's containers, newest first; a second run lists them again."""
    containers = engine().containers
    ours = containers.labels.select(project=arguments.project, stage=arguments.stage, instance=arguments.instance_id)
    found = containers.labelled({**arguments.labels, **ours}, every_state=arguments.all)
    theirs = (each for each in found if may_touch(containers.labels.stage_of(each)))
    return ListResult(containers=[_described(containers.labels, each) for each in theirs])


def _described(labels: Labels, container: Listed) -> ListedContainer:
    sealed = {labels.key(Label.SPEC), labels.key(Label.PREVIOUS)}
    return ListedContainer(
        container_id=container.id,
        name=container.name,
        project=labels.get(container.labels, Label.PROJECT),
        stage=labels.get(container.labels, Label.STAGE),
        instance_id=labels.get(container.labels, Label.INSTANCE),
        deployment_id=labels.get(container.labels, Label.DEPLOYMENT),
        image=labels.get(container.labels, Label.IMAGE),
        image_id=container.image_id,
        digest=labels.get(container.labels, Label.DIGEST),
        state=container.state,
        status=container.status,
        created=datetime.fromtimestamp(container.created, UTC).isoformat(),
        ports=dict(container.ports),
        # All of a deployment's arguments are too much for a list. An image has labels of its own, of any name.
        labels=masked({name: value for name, value in container.labels.items() if name not in sealed}),
        older_key=needs_older_key(container),
    )
