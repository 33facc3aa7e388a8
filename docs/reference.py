"""Writes docs/tasks.md and docs/settings.md from the code: `make reference`."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import tasks
from tasks.base import Result
from worker.results import DeploymentResult
from worker.settings import Settings
from worker.spec import Arguments, DeploymentSpec, RollbackArguments, StageOrder

Schema = Mapping[str, Any]

FOLDER = Path(__file__).parent
SECTIONS = {
    "A stage": ("deploy", "rollback", "stage", "cancel"),
    "What is there": ("list", "logs"),
    "One step": ("pull", "inspect", "ensure_network", "create", "connect", "start", "stop", "restart", "remove"),
    "Upkeep": ("reconcile", "prune"),
}
MODELS: Mapping[str, tuple[type[Arguments], type[BaseModel] | None]] = {
    "deploy": (DeploymentSpec, DeploymentResult),
    "rollback": (RollbackArguments, DeploymentResult),
    "stage": (StageOrder, None),
}
"""Of what has a record: its result is stored by whoever ends it."""
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
MADE = "<!-- Made by `make reference`: edit the code, not this page. -->"

TASKS_BEGIN = f"""# Tasks

{MADE}

Any Celery client can send these by name, with nothing of this project imported. Arguments are keyword arguments in
JSON; what is wrong or unknown is refused by its name, as `SpecInvalid`. Each returns a JSON object. A failure is one
sentence with a [type](errors.md): a plain client finds the sentence in `error.args[0]` and its facts (exit code, last
log lines, whether a retry can help) in `error.args[1]`.

What asks something of a stage has a record under the message's id. While it runs, the result backend's state is
`PROGRESS`, and its meta says `step`, for a pull the bytes `current` and `total`, and `waits_for` where it waits for a
host that is away. Sent again under the same id, it is done once.

Messages go to the queue `celery`; workers send on what is for another host or takes long. Each may be delivered twice:
what a second run does is said with each.
"""
SETTINGS_BEGIN = f"""# Settings

{MADE}

Environment variables, or the same names in a file `.env` of the folder that a process is started in; times are in
seconds. A wrong one stops the start and is named. They are the same for the worker, Celery beat, Flower and `dw`; only
what a process uses must be there. The engine's own variables are Docker's: `DOCKER_HOST`, `DOCKER_TLS_VERIFY`,
`DOCKER_CERT_PATH`. A `docker login` of the user who runs the worker is never used.

| variable | default | meaning |
|---|---|---|
"""


def main() -> None:
    """Write both pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    return {"tasks.md": "".join(_tasks()), "settings.md": "".join(_settings())}


def _tasks() -> Iterator[str]:
    yield TASKS_BEGIN
    for title, names in SECTIONS.items():
        yield f"\n## {title}\n"
        for name in names:
            yield from _task(name)


def _task(name: str) -> Iterator[str]:
    module = getattr(tasks, name)
    function = getattr(module.accept if name == "deploy" else module, "list_" if name == "list" else name)
    yield f"\n### docker.{name}\n\n{_about(module, function)}\n"
    arguments, result = MODELS.get(name) or _annotated(function)
    for title, model in (("Arguments", arguments), ("Result", result)):
        if model and model.model_fields:
            yield f"\n{title}:\n\n"
            yield from _fields(model)


def _annotated(function: Callable[..., Result]) -> tuple[type[Arguments], type[Result]]:
    signature = inspect.signature(function)
    (parameter,) = signature.parameters.values()
    return parameter.annotation, signature.return_annotation


def _about(module: ModuleType, function: object) -> str:
    first = re.sub(r" \(R\d+\)", "", _docstring(module).partition(": ")[2].partition("\n")[0])
    second = " ".join(_docstring(function).partition("\n\n")[0].split()).partition("; a second run")[2]
    return f"{first[0].upper()}{first[1:]}" + (f" A second run{second}" if second else "")


def _docstring(of: object) -> str:
    found = inspect.getdoc(of)
    if not found:
        raise ValueError(f"{of} has no docstring")
    return found


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """A list item for each field: name, form, default, meaning; those of objects in it one level deeper."""
    schema = model.model_json_schema(mode="validation" if issubclass(model, Arguments) else "serialization")
    yield from _items(model, schema["properties"], schema.get("$defs", {}))


def _items(model: type[BaseModel], properties: Schema, defined: Schema, indent: str = "") -> Iterator[str]:
    meanings = _meanings(model)
    for name, schema in properties.items():
        default = _default(model.model_fields[name]) if issubclass(model, Arguments) else ""
        meaning = f": {meanings[name]}" if name in meanings else ""
        yield f"{indent}- `{name}` ({_form(schema)}{default}){meaning}\n"
        for inner in dict.fromkeys(re.findall(r"#/\$defs/(\w+)", str(schema))):
            yield from _items(_models()[inner], defined[inner]["properties"], defined, f"{indent}    ")


def _form(schema: Schema) -> str:  # noqa: PLR0911  # one for each kind of schema
    """What a value must look like, in words."""
    match schema:
        case {"anyOf": alternatives}:
            return " or ".join(dict.fromkeys(map(_form, alternatives)))
        case {"enum": values}:
            return " or ".join(f"`{each}`" for each in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "items": item}:
            return f"list of {_form(item)}"
        case {"patternProperties": values}:
            return f"object of {_form(next(iter(values.values())))}"
        case {"additionalProperties": value}:
            return f"object of {_form(value)}"
        case {"type": kind}:
            return KINDS[kind] + _bounds(schema)
        case _:
            return "object"


def _bounds(schema: Schema) -> str:
    texts = {
        "pattern": "matching `{}`",
        "exclusiveMinimum": "above {:,}",
        "minimum": "at least {:,}",
        "maximum": "at most {:,}",
        "maxLength": "{:,} characters at most",
    }
    return "".join(f", {text.format(schema[bound])}" for bound, text in texts.items() if bound in schema)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "; **required**"
    empty = field.default is None or isinstance(field.default, BaseModel) or field.default in ({}, [])
    return "; optional" if empty else f"; default `{json.dumps(field.default)}`"


@cache
def _models() -> Mapping[str, type[BaseModel]]:
    def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for each in model.__subclasses__():
            yield each
            yield from below(each)

    return {each.__name__: each for each in below(BaseModel) if _is_ours(each)}


def _is_ours(model: type) -> bool:
    return model.__module__.startswith(("worker.", "tasks."))


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field."""
    found: dict[str, str] = {}
    for each in filter(_is_ours, reversed(model.__mro__)):
        (class_,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        for pair in pairwise(ast.iter_child_nodes(class_)):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _settings() -> Iterator[str]:
    yield SETTINGS_BEGIN
    meanings = _meanings(Settings)
    for name, field in Settings.model_fields.items():
        yield f"| `DW_{name.upper()}` | {_written(field.default)} | {meanings[name]} |\n"


def _written(default: object) -> str:
    """A setting's default, as one writes it in the environment."""
    match default:
        case None | ():
            return ""
        case int(first), int(last):
            return f"`{first}-{last}`"
        case tuple():
            return f"`{','.join(default)}`"
        case bool():
            return f"`{str(default).lower()}`"
        case _:
            return f"`{default}`"


if __name__ == "__main__":
    main()
