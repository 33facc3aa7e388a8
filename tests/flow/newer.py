"""A newer version of the code, made of this one by a few changes, as a release could have brought them.

It has an argument and a step `warm`, which go together; a fact that each deployment notes of its image, `noted`; and a
task, `docker.warmth`.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTED = "by a newer worker"

_TASK = """
class Warmth(Result):
    warm: bool


class WarmthArguments(Arguments):
    pass


@operation("docker.warmth")
def warmth(_: WarmthArguments) -> Warmth:
    return Warmth(warm=True)


"""
CHANGES = {
    "worker/version.py": [
        ("VERSION = 1", "VERSION = 2"),
        ("ARGUMENTS_SINCE: Mapping[str, int] = {}", 'ARGUMENTS_SINCE: Mapping[str, int] = {"warm": 2}'),
        ("STEPS_SINCE: Mapping[str, int] = {}", 'STEPS_SINCE: Mapping[str, int] = {"warm": 2}'),
    ],
    "worker/spec.py": [("    force: bool = False\n", "    force: bool = False\n    warm: bool = False\n")],
    "worker/record.py": [
        ('    PROVE = "prove"\n', '    WARM = "warm"\n    PROVE = "prove"\n'),
        ("    Step.START: Step.PROVE,\n", "    Step.START: Step.WARM,\n    Step.WARM: Step.PROVE,\n"),
        ("    Step.START: Step.UNDO,\n", "    Step.START: Step.UNDO,\n    Step.WARM: Step.UNDO,\n"),
        ("    is_left_out = {\n", '    is_left_out = {\n        Step.WARM: not getattr(asked, "warm", False),\n'),
        ("    digest: str | None = None\n", "    digest: str | None = None\n    noted: str | None = None\n"),
    ],
    "tasks/deploy/candidate.py": [
        (
            "@step(Step.PROVE)\n",
            "@step(Step.WARM)\ndef warm(claim: Claim) -> Done:\n    return Done(claim.found)\n\n\n@step(Step.PROVE)\n",
        ),
        ("image_id=image.id, digest=digest,", f'image_id=image.id, noted="{NOTED}", digest=digest,'),
    ],
    "tasks/inspect.py": [('@operation("docker.inspect"', f'{_TASK}@operation("docker.inspect"')],
}
"""By file: a text in it, and what takes its place."""


def make_newer(folder):
    """Make the newer version in a folder: `celery -A worker` run there is of that one."""
    for name in ("worker", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in CHANGES.items():
        text = (folder / name).read_text()
        for old, new in changes:
            assert old in text, f"{name} has changed: {old!r} isn't in it"
            text = text.replace(old, new, 1)
        (folder / name).write_text(text)
    return folder
