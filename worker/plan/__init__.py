"""The decisions of a deployment, as plain functions of what is asked for and what is there."""

from worker.plan.container import candidate, container_spec, published_ports, spare_address
from worker.plan.names import (
    check_aliases,
    check_holder,
    choose_name,
    has_temporary_name,
    lost_name,
    temporary_name,
    was_promoted,
)
from worker.plan.proof import verdict, was_killed
from worker.plan.removal import check_order, is_leftover, is_ours_alone
from worker.plan.takeover import UP, can_move, check_move, displaced, stands_in_the_way, surplus
from worker.plan.versions import fingerprints, live_twin, rollback_arguments, rollback_target

__all__ = [
    "UP",
    "can_move",
    "candidate",
    "check_aliases",
    "check_holder",
    "check_move",
    "check_order",
    "choose_name",
    "container_spec",
    "displaced",
    "fingerprints",
    "has_temporary_name",
    "is_leftover",
    "is_ours_alone",
    "live_twin",
    "lost_name",
    "published_ports",
    "rollback_arguments",
    "rollback_target",
    "spare_address",
    "stands_in_the_way",
    "surplus",
    "temporary_name",
    "verdict",
    "was_killed",
    "was_promoted",
]
