"""The container that a message is about: managed here, and its sender's to touch (G7)."""

from worker.engine import Container, engine
from worker.signature import check_stage


def managed(container: str) -> Container:
    """Read a container by its id, 12 characters at least, or by its exact name.

    Raises ContainerNotFound, NotManaged, PolicyDenied, EngineUnavailable.
    """
    containers = engine().containers
    found = containers.managed(container)
    check_stage(containers.labels.stage_of(found))
    return found
