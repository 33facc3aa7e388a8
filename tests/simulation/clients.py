"""What is asked for: deployments of a few stages, good and broken, scattered or all at once; and cancels of them."""

from dataclasses import dataclass

from tests.simulation.images import BROKEN, GOOD, Image
from worker.record import ON_FAILURE

_STAGES = (
    (("shop", "live"),),
    (("shop", "live"),),
    (("shop", "live"), ("shop", "test")),
    (("shop", "live"), ("shop", "test"), ("blog", "live")),
    # Their containers' names are the same.
    (("a-b", "c"), ("a", "b-c")),
)
_WITHIN = 15.0
_SHARE_OF_BROKEN = 0.25
_SHARE_OF_RUNS_WITH_CANCELS = 0.5
_SHARE_OF_CANCELLED = 0.4
_SHARE_OF_CANCELS_AT_A_STEP = 0.5
_FIRST_PORT = 18_080
_SHARE_OF_PLACED = 0.6
_SHARE_OF_HURRIED = 0.7
_SHARE_OF_MOVABLE = 0.8


@dataclass(frozen=True)
class Asked:
    """A deployment that somebody asks for."""

    id: str
    after: float
    image: Image
    arguments: dict

    @property
    def stage(self):
        return self.arguments["project"], self.arguments["stage"]


def draw(random):
    stages = {stage: _drawn_habits(random, number) for number, stage in enumerate(random.choice(_STAGES))}
    # Few images, so that names clash.
    good = random.sample(GOOD, random.randint(1, 2))
    within = random.choice((0.0, 1.0, _WITHIN))
    return [_drawn(random, f"d{number}", stages, good, within) for number in range(1, random.randint(3, 8) + 1)]


def _drawn_habits(random, number):
    """What the deployments of a stage have in common."""
    habits = {"keep": random.choice((1, 1, 1, 2))}
    if random.random() < 0.4:
        habits["ports"] = {"8080/tcp": _FIRST_PORT + number}
    if random.random() < 0.3:
        habits["volumes"] = {f"data{number}": {"path": "/data", "exclusive": True}}
    if random.random() < 0.5:
        habits["cutover"] = {"url": f"http://hook.test/{number}"}
    return habits


def draw_moving(random, hosts):
    """Deployments of few stages, one after the other, that ask for hosts or don't; and whether none waits for long."""
    stages = {stage: _drawn_habits(random, number) for number, stage in enumerate(random.choice(_STAGES[:3]))}
    is_hurried, within = random.random() < _SHARE_OF_HURRIED, random.choice((_WITHIN, 2 * _WITHIN, 3 * _WITHIN))
    can_move = random.random() < _SHARE_OF_MOVABLE
    asked = [_drawn(random, f"d{number}", stages, GOOD[:3], within) for number in range(1, random.randint(3, 8) + 1)]
    for each in asked:
        if random.random() < _SHARE_OF_PLACED:
            each.arguments["host"] = random.choice(hosts)
        if is_hurried:
            each.arguments["timeout"] = random.uniform(10, 60)
        for name in ("volumes", "strategy") if can_move else ():
            each.arguments.pop(name, None)
    return asked, is_hurried


def draw_cancels(random, asked):
    """Ids of deployments that somebody wants to be ended, and when: also before they are asked for, or at a step."""
    if random.random() >= _SHARE_OF_RUNS_WITH_CANCELS:
        return []
    longest = random.choice((1.0, 5.0, 20.0))
    chosen = [each for each in asked if random.random() < _SHARE_OF_CANCELLED]
    times = [each for each in chosen for _ in range(random.choice((1, 1, 2)))]
    return [(_drawn_time(random, each, longest), each.id) for each in times]


def _drawn_time(random, asked, longest):
    if random.random() < _SHARE_OF_CANCELS_AT_A_STEP:
        return random.choice(list(ON_FAILURE))
    return max(0.0, asked.after + random.uniform(-0.1, 1) * longest)


def _drawn(random, deployment_id, stages, good, within):
    project, stage = random.choice(list(stages))
    image = random.choice(BROKEN if random.random() < _SHARE_OF_BROKEN else good)
    arguments = {"project": project, "stage": stage, "image": image.reference, **stages[project, stage]}
    if random.random() < 0.2:
        arguments.pop(random.choice(("ports", "volumes")), None)
    if random.random() < 0.3:
        arguments["strategy"] = random.choice(("start-first", *("stop-first",) * 3))
        if arguments["strategy"] == "start-first":
            # Who asks for that has both in it at once.
            arguments.pop("volumes", None)
    if random.random() < 0.2:
        arguments["restart"] = "unless-stopped"
    if random.random() < 0.3:
        arguments["env"] = {"CHANGED": deployment_id}
    if random.random() < 0.6:
        arguments["aliases"] = [f"{project}.{stage}"]
    if random.random() < 0.2:
        arguments["network"] = "further"
    if random.random() < 0.2:
        arguments["force"] = True
    if random.random() < 0.1:
        arguments["timeout"] = random.uniform(2, 20)
    arguments["policy"] = "missing" if random.random() < 0.3 else "always"
    return Asked(deployment_id, random.uniform(0, within), image, arguments)
