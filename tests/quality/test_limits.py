"""No module, class or function grows beyond what one reads at a time.

Lines are counted with their docstrings. Complexity is ruff's business.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITS = {"module": 500, "class": 300, "function": 60}
# A migration is one list of statements, and stays as it was released.
FROZEN = "db/migrations/versions"
# A list of published methods, each with its docstring and few lines besides.
FACES = {"BackupManager": 20}


def _sizes(tree: ast.Module, text: str) -> Iterator[tuple[str, str, int]]:
    yield "module", "", len(text.splitlines())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            if node.name not in FACES:
                yield kind, node.name, (node.end_lineno or 0) - node.lineno + 1


def _sources() -> list[Path]:
    found = [*(ROOT / "src").rglob("*.py"), *(ROOT / "adapters").rglob("src/**/*.py")]
    return [path for path in found if FROZEN not in path.as_posix()]


def test_every_size_is_below_its_limit() -> None:
    over = [
        f"{path.relative_to(ROOT)}: {kind} {name} has {size} lines"
        for path in _sources()
        for text in [path.read_text(encoding="utf-8")]
        for kind, name, size in _sizes(ast.parse(text), text)
        if size > LIMITS[kind]
    ]
    assert len(_sources()) > 150
    assert over == []


@pytest.mark.parametrize(("name", "most"), FACES.items())
def test_a_face_has_short_methods(name: str, most: int) -> None:
    """What is not a signature or a docstring is a few lines that call another module."""
    [(path, face)] = [
        (path, node)
        for path in _sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    long = {}
    for method in face.body:
        if isinstance(method, ast.FunctionDef) and method.name != "__init__":
            body = method.body[1 if ast.get_docstring(method) else 0 :]
            size = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if size > most:
                long[method.name] = size
    assert long == {}, path
