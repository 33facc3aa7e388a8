"""How far the deployments are that have made some containers."""

from collections.abc import Mapping, Sequence

from worker.engine import Listed, engine
from worker.store import Standing, deployments


def standings_of(containers: Sequence[Listed]) -> Mapping[str, Standing]:
    """By the deployments' ids; those without a record are left out."""
    return deployments().standings(sorted({engine().containers.labels.deployment_of(each) for each in containers}))
