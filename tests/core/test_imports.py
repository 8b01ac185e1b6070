"""What is heavy is imported by those who use it: a host pays for it at each of its starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from expresso_persist import Store

HEAVY = ("alembic", "mako", "rich", "fsspec", "pyrage", "prometheus_client", "jwt", "redis")


def loaded(code: str, *arguments: str) -> set[str]:
    """The packages of HEAVY that a process has imported in the end."""
    told = f"{code}\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", told, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {*done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("module", ["expresso_persist", "expresso_persist.cli"])
def test_importing_is_light(module: str) -> None:
    """The library and the command line."""
    assert loaded(f"import {module}") == set()


def test_a_current_store_opens_without_alembic(database_url: str) -> None:
    """With `migrate=True` too; Alembic comes when there is something to migrate."""
    code = """
import sys
from expresso_persist import Put, Store
from expresso_persist.model.records import Setting
for migrate in (False, True):
    with Store(sys.argv[1], migrate=migrate) as store:
        store.inventory.commit([Put(Setting.of("a", data=migrate))], actor="anna")
        store.backups.create("manual")
"""
    fresh = (
        "import sys\nfrom expresso_persist import Store\nStore(sys.argv[1], migrate=True).close()"
    )
    assert "alembic" in loaded(fresh, database_url)
    assert loaded(code, database_url) == set()


def test_the_version_is_told_without_it(tmp_path: Path) -> None:
    """And so is the status of a store."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    Store(url, migrate=True).close()
    for words in (["--version"], ["status", "--database", url]):
        code = f"from expresso_persist.cli import cli\ncli({words!r}, standalone_mode=False)"
        assert loaded(code) == set()
