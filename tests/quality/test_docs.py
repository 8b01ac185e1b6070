"""Documentation is code: its examples run, its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from expresso_persist.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
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
    names: dict[str, object] = {"__name__": "example"}
    try:
        for code in blocks(page, "python"):
            exec(compile(code, name(page), "exec"), names)
    finally:
        for value in names.values():
            if type(value).__name__ == "Store":
                value.close()  # type: ignore[attr-defined]


def commands(page: Path) -> Iterator[list[str]]:
    for code in blocks(page, "bash", "console", "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
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
    """A link to a file of the repository finds it."""
    for target in re.findall(r"\]\((?!https?://|mailto:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_help_in_the_docs_is_current() -> None:
    """docs/cli.md is what tools/cli_docs.py would write now."""
    scope: dict[str, object] = {"__name__": "cli_docs", "__file__": str(ROOT / "tools/cli_docs.py")}
    exec((ROOT / "tools" / "cli_docs.py").read_text(encoding="utf-8"), scope)
    page = scope["page"]()  # type: ignore[operator]
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == page, "run python tools/cli_docs.py"
