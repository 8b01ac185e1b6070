"""What the command says when it cannot do what was asked: a sentence that can be acted on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from expresso_persist.cli import cli

SCRIPT = Path(sys.executable).parent / "expresso-persist"
UNREACHABLE = "postgresql://anna:hunter2@127.0.0.1:1/event"


@pytest.mark.parametrize("on_the_path", [True, False])
def test_it_calls_itself_as_the_user_can(on_the_path: bool, tmp_path: Path) -> None:
    """After `./serve` in a clone no PATH has the command; what it tells to type must work."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    link = tmp_path / ".venv" / "bin" / "expresso-persist"
    link.symlink_to(SCRIPT)
    paths = ["/usr/bin", "/bin", *([str(link.parent)] if on_the_path else [])]
    done = subprocess.run(
        [str(link), "status"],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    expected = "expresso-persist init" if on_the_path else ".venv/bin/expresso-persist init"
    assert f"`{expected}`" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".venv"]


@pytest.mark.parametrize(
    "words", [("status",), ("init",), ("init", "--dry-run"), ("backup", "list"), ("serve",)]
)
def test_a_server_that_does_not_answer_is_named(words: tuple[str, ...]) -> None:
    """Which one, and without its password; "try again" would send the operator astray."""
    extra = ["--port", "0"] if words == ("serve",) else []
    if extra and os.environ.get("EXPRESSO_TEST_BARE"):
        pytest.skip("EXPRESSO_TEST_BARE: no framework is installed here, on purpose")
    result = CliRunner().invoke(cli, [*words, *extra, "--database", UNREACHABLE, "--json"])
    assert result.exit_code == 1
    failure = json.loads(result.stderr)
    assert failure["code"] == "database_unavailable"
    assert "postgresql://anna:***@127.0.0.1:1/event" in failure["error"]
    assert "hunter2" not in result.output


def test_no_backup_is_a_failure_in_json_too(sqlite_url: str) -> None:
    """Scripts get the same JSON for it as for every other failure."""
    assert CliRunner().invoke(cli, ["init", "--database", sqlite_url]).exit_code == 0
    words = ["backup", "restore", "latest", "--database", sqlite_url, "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert json.loads(result.stderr)["code"] == "backup_not_found"
