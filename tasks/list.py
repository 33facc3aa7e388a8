"""`docker.list`: the managed containers (R7)."""

from collections.abc import Iterator

from celery import current_task

from tasks.base import Result, came_by_shared_queue, operation
from worker import plan
from worker.engine import engine
from worker.listing import described, told_by_others
from worker.results import ListedContainer
from worker.settings import Name, settings
from worker.signature import may_touch
from worker.spec import Arguments, LabelName, Text
from worker.store import hosts


class ListArguments(Arguments):
    project: Name | None = None
    stage: Name | None = None
    instance_id: Name | None = None
    labels: dict[LabelName, Text] = {}
    """An empty value asks for the label, whatever its value."""
    all: bool = False
    """Stopped ones too."""


class ListResult(Result):
    containers: list[ListedContainer]


@operation("docker.list")
def list_(arguments: ListArguments) -> ListResult:
    """List this namespace's containers, newest first; a second run lists them again.

    Who asks by the shared queue is told of all hosts' containers, of the others' as these have told of them; who asks
    by a host's own queue, of that one's.
    """
    found = [*_here(arguments), *(_elsewhere(arguments) if came_by_shared_queue(current_task) else ())]
    theirs = [each for each in found if may_touch(each.where)]
    return ListResult(containers=sorted(theirs, key=lambda each: each.created, reverse=True))


def _here(arguments: ListArguments) -> Iterator[ListedContainer]:
    containers = engine().containers
    ours = containers.labels.select(project=arguments.project, stage=arguments.stage, instance=arguments.instance_id)
    return map(described, containers.labelled({**arguments.labels, **ours}, every_state=arguments.all))


def _elsewhere(arguments: ListArguments) -> Iterator[ListedContainer]:
    whole = arguments.project and arguments.stage
    stages = [f"{arguments.project}/{arguments.stage}"] if whole else hosts().stages(but=settings().host)
    for each in told_by_others(stages):
        is_wanted = (
            arguments.project in {None, each.project}
            and arguments.stage in {None, each.stage}
            and arguments.instance_id in {None, each.instance_id}
            and (arguments.all or each.state in plan.UP)
            and all(
                name in each.labels and value in {"", each.labels[name]} for name, value in arguments.labels.items()
            )
        )
        if is_wanted:
            yield each
