"""What may befall an effect. Each run has a weather of its own: in most, most kinds of faults don't occur."""

import enum
from dataclasses import dataclass

import docker
import redis
import requests
import urllib3
from kombu.exceptions import OperationalError

from tests.simulation.engine import failure_inside


class Fate(enum.Enum):
    """What befalls an effect."""

    REFUSED = "it is never done, and who asked for it is told so"
    LOST_REPLY = "it is done, and who asked for it is told that it isn't"
    FAILED_INSIDE = "the engine answers with status 500 before it does anything"
    KILLED_BEFORE = "the process dies, and it is never done"
    KILLED_AFTER = "the process dies as soon as it is done"
    STALLED = "the whole process stands still past the end of its leases, then does it"
    SLOW = "it takes long, while the process renews its leases"
    CUT_OFF = "the process loses its Redis for longer than its leases last, and goes on"


_OCCURS_IN = 0.5
"""The share of runs in which a kind of fault occurs at all."""
_LOSES_REDIS_IN = 0.1
_EASED_IN = 0.7
_EASED_BY = 8
_CHANCES = {
    Fate.REFUSED: 0.03,
    Fate.LOST_REPLY: 0.03,
    Fate.FAILED_INSIDE: 0.03,
    Fate.KILLED_BEFORE: 0.01,
    Fate.KILLED_AFTER: 0.01,
    Fate.STALLED: 0.006,
    Fate.SLOW: 0.02,
    Fate.CUT_OFF: 0.006,
}
_ERRORS = {Fate.REFUSED, Fate.LOST_REPLY, Fate.FAILED_INSIDE}
_ROUGH = 12
"""How much more frequent errors are in a few runs, so that steps fail for good."""
_MESSAGE_CHANCE = 0.15
_HOOK_CHANCE = 0.2
MUCH = 5
"""What an outage counts for."""
_ONLY_ENGINE = {Fate.FAILED_INSIDE}
# A process that dies while it makes a network keeps others from that for a minute.
_COST_MUCH = {Fate.CUT_OFF, Fate.KILLED_BEFORE, Fate.KILLED_AFTER}


@dataclass
class Weather:
    """The chances of a run's faults; none once it has cleared up."""

    chances: dict
    lost: float
    doubled: float
    late: float
    engine_restarts: int
    loses_redis: bool
    hook_refuses: float
    hook_is_overloaded: float
    cleared_up: bool = False
    suffered: int = 0
    """How many faults there were, as to attempts that they cost."""

    @classmethod
    def drawn(cls, random):
        rough = random.choice((1, 1, 1, _ROUGH))

        def chance(most):
            return random.uniform(0, most) if random.random() < _OCCURS_IN else 0.0

        return cls(
            chances={fate: chance(most) * (rough if fate in _ERRORS else 1) for fate, most in _CHANCES.items()},
            lost=chance(_MESSAGE_CHANCE),
            doubled=chance(_MESSAGE_CHANCE),
            late=chance(_MESSAGE_CHANCE),
            engine_restarts=random.choice((0, 0, 0, 1, 2)),
            loses_redis=random.random() < _LOSES_REDIS_IN,
            hook_refuses=chance(_HOOK_CHANCE),
            hook_is_overloaded=chance(_HOOK_CHANCE),
        )

    def ease(self, random):
        """Have fewer faults, mostly: enough befalls whole hosts."""
        if random.random() < _EASED_IN:
            self.chances = {fate: chance / _EASED_BY for fate, chance in self.chances.items()}

    def fate(self, random, system):
        if self.cleared_up:
            return None
        drawn = random.random()
        for fate, chance in self.chances.items():
            drawn -= chance
            if drawn < 0:
                if fate in _ONLY_ENGINE and system != "engine":
                    return None
                self.suffered += MUCH if fate in _COST_MUCH else 1
                return fate
        return None


def error(system, fate):
    """The error that a client of a system raises."""
    if fate is Fate.FAILED_INSIDE:
        return failure_inside()
    text = "connection refused" if fate is Fate.REFUSED else "connection reset by peer"
    kinds = {
        "engine": requests.ConnectionError,
        "redis": redis.ConnectionError,
        "results": redis.ConnectionError,
        "hook": urllib3.exceptions.ProtocolError,
    }
    return kinds.get(system, OperationalError)(text)


EXPECTED = (
    redis.RedisError,
    requests.RequestException,
    docker.errors.APIError,
    urllib3.exceptions.HTTPError,
    OperationalError,
)
"""What an effect may end in."""
