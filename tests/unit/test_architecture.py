"""The directions of imports, which the folder tree promises."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def modules(folder):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", modules("worker"))
def test_worker_never_imports_tasks(path):
    assert "tasks" not in imports(path)


@pytest.mark.parametrize("path", [*modules("worker"), *modules("tasks")])
def test_only_the_engine_adapter_imports_docker(path):
    assert "docker" not in set(imports(path)) or path.parent.name == "engine"


@pytest.mark.parametrize("path", [*modules("worker"), *modules("tasks")])
def test_the_product_does_not_import_what_starts_its_services(path):
    assert "compose" not in set(imports(path))
