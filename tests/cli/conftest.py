"""The command, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dumps import SMALL
from expresso_persist.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str) -> Run:
    """Run a verb on a database; the exit code must be the expected one."""

    def call(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        words = [*arguments, "--database", database_url]
        result = CliRunner().invoke(cli, words, input=stdin)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def answer(run: Run) -> Callable[..., Any]:
    """Run a verb with --json and parse what it prints."""
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)


@pytest.fixture
def dump_file(tmp_path: Path) -> str:
    """A file with a dump that has a key of each harmless class."""
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(SMALL), encoding="utf-8")
    return str(path)
