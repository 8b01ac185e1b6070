"""Documentation is code: its examples run, its imports are published, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from ci import missing
from expresso_persist import Store
from expresso_persist.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "adapters/*/*.md", "benchmarks/*.md", "tests/*/*.md")
    for path in sorted(ROOT.glob(pattern))
] + sorted((ROOT / "src").glob("**/*.md"))
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
ADAPTERS = sorted((ROOT / "adapters").glob("*/src/*/*.py"))
FENCE = re.compile(r"^(<!-- not run: [^\n]+ -->\n+)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The page's code in these languages, but for what a comment before it takes out."""
    for reason, language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages and not reason:
            yield code


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runnable(page: Path) -> bool:
    """Whether the page has examples that can run here; `tox -e bare` has no framework."""
    code = "".join(blocks(page, "python"))
    bare = bool(os.environ.get("EXPRESSO_TEST_BARE"))
    return bool(code) and not (bare and re.search(r"\b(flask|fastapi)\b", code))


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=name)
def test_the_python_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who pastes a page's examples, top to bottom, gets no error."""
    monkeypatch.chdir(tmp_path)
    opened: list[Store] = []
    opening = Store.__init__

    def noted(store: Store, *args: Any, **options: Any) -> None:
        opening(store, *args, **options)
        opened.append(store)

    monkeypatch.setattr(Store, "__init__", noted)
    names: dict[str, object] = {"__name__": "example"}
    try:
        for code in blocks(page, "python"):
            exec(compile(code, name(page), "exec"), names)
    finally:
        for store in opened:  # a host's server runs until its process ends
            store.close()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_checked_or_says_why_not(page: Path) -> None:
    """A block's language tells which test below reads it; `text` is for people only."""
    fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= {"python", "bash", "javascript", "mermaid", "text"}
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "javascript"))], ids=name)
def test_the_javascript_examples_are_javascript(page: Path, tmp_path: Path) -> None:
    """Each half of an OLD/NEW pair parses by itself, as a module that may use await."""
    node = shutil.which("node") or missing("node is not installed, so no JavaScript is parsed")
    for number, code in enumerate(blocks(page, "javascript")):
        imports = re.findall(r"^import[^;]+;\n", code, re.MULTILINE)
        for part in re.split(r"^// (?:OLD|NEW)$", code, flags=re.MULTILINE):
            for line in imports:
                part = part.replace(line, "")
            module = tmp_path / f"{number}.mjs"
            module.write_text("".join(imports) + f"async function example() {{\n{part}}}\n")
            done = subprocess.run(
                [node, "--check", str(module)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


def commands(page: Path) -> Iterator[list[str]]:
    for code in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            for start in ("./serve", "./run-tests"):
                assert not words or words[0] != start or os.access(ROOT / start, os.X_OK)
            if words and words[0] == "./serve":
                yield ["serve", *words[1:]]
            for start in ("expresso-persist", "expresso"):
                if start in words and not ("pip" in words or "git" in words):
                    yield words[words.index(start) + 1 :]
                    break


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_exist(page: Path) -> None:
    """Every `expresso-persist …` of the docs is a verb with options that it has."""
    for words in commands(page):
        command: click.Command = cli
        for word in words:
            if isinstance(command, click.Group):
                if word.startswith("-"):
                    break
                assert word in command.commands, f"{word} in {words}"
                command = command.commands[word]
            elif word.startswith("--"):
                options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
                assert word.partition("=")[0] in options, f"{word} in {words}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the repository finds it, and the heading in it too."""
    for target in re.findall(r"\]\((?!https?://|mailto:)([^)]+)\)", page.read_text("utf-8")):
        file, _, heading = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert heading in slugs, target


def imported(code: str) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import of the library; None for a name that is a module."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def ours(code: str) -> Iterator[tuple[str, str | None]]:
    return (pair for pair in imported(code) if pair[0].split(".")[0] == "expresso_persist")


def taught() -> Iterator[tuple[str, str, str | None]]:
    for page in PAGES:
        for code in blocks(page, "python"):
            yield from ((page.name, *pair) for pair in ours(code))
    for file in EXAMPLES:
        yield from ((file.name, *pair) for pair in ours(file.read_text("utf-8")))


def test_what_the_docs_import_is_published() -> None:
    """Each name is in the `__all__` of the module that it is imported from."""
    lessons = [*taught()]
    assert len(lessons) > 30
    hidden = [
        f"{page}: from {module} import {name}"
        for page, module, name in lessons
        if name is not None and name not in importlib.import_module(module).__all__
    ]
    assert hidden == []


@pytest.mark.parametrize("file", ADAPTERS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_an_adapter_imports_one_module(file: Path) -> None:
    """`expresso_persist.http.adapter`, and of that what it publishes."""
    published = importlib.import_module("expresso_persist.http.adapter").__all__
    assert all(
        module == "expresso_persist.http.adapter" and name in published
        for module, name in ours(file.read_text("utf-8"))
    )


@pytest.mark.parametrize("module", ["expresso_persist", "expresso_persist.http.adapter"])
def test_what_is_published_is_there(module: str) -> None:
    loaded = importlib.import_module(module)
    assert len({*loaded.__all__}) == len(loaded.__all__)
    assert all(hasattr(loaded, name) for name in loaded.__all__)


def test_every_dependency_says_why() -> None:
    """docs/dependencies.md names each one of the three distributions and of the groups."""
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    for file in (ROOT / "pyproject.toml", *sorted((ROOT / "adapters").glob("*/pyproject.toml"))):
        described = tomllib.loads(file.read_text("utf-8"))
        needed = [*described["project"]["dependencies"]]
        for extra in described["project"].get("optional-dependencies", {}).values():
            needed += extra
        for group in described.get("dependency-groups", {}).values():
            needed += [entry for entry in group if isinstance(entry, str)]
        for requirement in needed:
            package = re.split(r"[\[<>=~! ]", requirement)[0].lower()
            assert package.startswith("expresso-persist") or f"`{package}" in page, requirement


def test_every_room_is_on_the_plan() -> None:
    """docs/architecture.md names every module and package of the core, and every folder."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = (ROOT / "src" / "expresso_persist").iterdir()
    names = {path.stem for path in rooms if path.suffix == ".py" or (path / "__init__.py").exists()}
    folders = {"adapters", "benchmarks", "tests", "tools"}
    for room in names - {"__init__", "__main__"} | folders:
        assert re.search(rf"`{room}/?`", page), room


def test_the_picture_of_the_rooms_is_current() -> None:
    """docs/architecture.md shows the imports as they are."""
    path = ROOT / "tools" / "rooms_picture.py"
    scope = runpy.run_path(str(path))
    page = scope["PAGE"].read_text("utf-8")
    assert "-->" in page
    assert scope["drawn"](page) == page, "run python tools/rooms_picture.py"


def test_the_help_in_the_docs_is_current() -> None:
    """docs/cli.md is what tools/cli_docs.py would write now."""
    scope: dict[str, object] = {"__name__": "cli_docs", "__file__": str(ROOT / "tools/cli_docs.py")}
    exec((ROOT / "tools" / "cli_docs.py").read_text(encoding="utf-8"), scope)
    page = scope["page"]()  # type: ignore[operator]
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == page, "run python tools/cli_docs.py"
