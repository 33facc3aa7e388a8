"""The directions of imports, which the folder tree promises."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tasks
from worker.celery import app

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("worker", "tasks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def run_at_import(node):
    """What of a module is run when it is imported: nothing that is in a function, or there for types alone."""
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_for_types and not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield child
            yield from run_at_import(child)


def imported(nodes):
    """The whole names of what is imported: of a module's part, the part's."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def imports(module):
    return set(imported(ast.walk(ast.parse(MODULES[module].read_text()))))


def needs(module):
    """The modules of ours that must be there before one can be imported."""
    names = imported(run_at_import(ast.parse(MODULES[module].read_text())))
    found = (name if name in MODULES else name.rpartition(".")[0] for name in names)
    return {each for each in found if each in MODULES}


def is_of(name, package):
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize(
    ("within", "unknown"),
    [
        ("worker", "tasks"),
        ("worker", "compose"),
        ("tasks", "compose"),
        ("tasks", "worker.cli"),
        ("worker.engine", "worker.store"),
        ("worker.engine", "worker.celery"),
        ("worker.store", "worker.engine"),
        ("worker.store", "worker.celery"),
    ],
)
def test_the_inner_knows_nothing_of_the_outer(within, unknown):
    found = {
        module: names
        for module in MODULES
        if is_of(module, within) and (names := {name for name in imports(module) if is_of(name, unknown)})
    }
    assert not found


@pytest.mark.parametrize(("package", "home"), [("docker", "worker.engine"), ("worker.cli", "worker.cli")])
def test_nothing_else_imports_it(package, home):
    known = {module for module in MODULES if any(is_of(name, package) for name in imports(module))}
    assert known
    assert not [module for module in known if not is_of(module, home)]


def test_no_module_must_be_there_before_itself():
    """The order says so with a CycleError, which names the modules in a circle."""
    order = list(TopologicalSorter({module: needs(module) for module in MODULES}).static_order())
    assert set(order) == set(MODULES)


def test_the_map_of_folders_has_each_module():
    told = (ROOT / "docs/architecture.md").read_text().partition("## The folders")[2].partition("\n## ")[0]
    inside = [path for folder in ("tasks", "tasks/deploy", "worker") for path in (ROOT / folder).iterdir()]
    names = {path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert tasks
    tasks_of_the_contract = {name.removeprefix("docker.") for name in app.tasks if name.startswith("docker.")}
    assert not [name for name in names - tasks_of_the_contract if not re.search(rf"`(\w+/)?{name}/?`", told)]
