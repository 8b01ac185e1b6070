"""A server that finds tables of the replaced system leaves them alone, or says what it did."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from expresso_persist import Store, adoption
from expresso_persist.cli import cli
from expresso_persist.db.database import Database
from expresso_persist.errors import SchemaMismatch
from legacy_database import COLUMNS, LegacyDatabase

SECRET = "hunter2hunter2"


@pytest.fixture
def old(database_url: str) -> LegacyDatabase:
    """An old database in use, with a secret and a row that breaks a rule."""
    made = LegacyDatabase(database_url)
    made.fill(8, 2)
    made.insert("system_settings", {"setting_key": "sms_password", "setting_value": f'"{SECRET}"'})
    made.insert(
        "event_stock_levels",
        {"item_name": "Odd", "category": "milk", "total_quantity": None, "unit": "L"},
    )
    return made


def run(url: str, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*words, "--database", url])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.mark.parametrize("framework", ["flask", "fastapi"])
def test_a_server_does_not_rename_tables_unasked(
    framework: str, old: LegacyDatabase, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Mounted with the URL alone, it refuses to start, and says what to run instead."""
    before = {name: old.rows(name) for name in COLUMNS}
    app_of = pytest.importorskip(framework)
    adapter = pytest.importorskip(f"expresso_persist_{framework}")
    app = app_of.Flask("host") if framework == "flask" else app_of.FastAPI()
    with pytest.raises(SchemaMismatch, match="init --dry-run") as refused:
        adapter.register_routes(app, database_url)
    assert "event_inventory (" in refused.value.message
    assert SECRET not in refused.value.message
    assert old.names() == {*COLUMNS}
    assert {name: old.rows(name) for name in COLUMNS} == before


def test_serve_refuses_too(old: LegacyDatabase, database_url: str) -> None:
    """And `init` adopts, because that is what it is for."""
    assert "init --dry-run" in run(database_url, "serve", "--port", "0", code=1).stderr
    assert old.names() == {*COLUMNS}
    assert "Renamed the replaced system's" in run(database_url, "init", code=3).stdout
    Store(database_url, migrate=True).close()


def test_old_tables_without_rows_are_in_nobodys_way(database_url: str) -> None:
    """An old system that was set up and never used: nothing is at stake."""
    LegacyDatabase(database_url)
    with Store(database_url, migrate=True) as store:
        assert store.inventory.verify().ok


def test_what_was_adopted_is_logged_and_can_be_read_again(
    mount: Callable[..., Any],
    old: LegacyDatabase,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A line per step: what was renamed, carried over and put aside; no value, no secret."""
    foretold = _report(database_url)
    with (
        caplog.at_level(logging.INFO, "expresso_persist"),
        Store(database_url, migrate=True, adopt=True) as store,
    ):
        mount(store)
        lines = [record.getMessage() for record in caplog.records]
        assert all(record.levelno == logging.WARNING for record in caplog.records[: len(lines)])
        assert not [line for line in lines if "\n" in line]
        for name in ("event_inventory", "event_stock_levels", "data_backups"):
            assert any(f"{name} to legacy_{name}" in line for line in lines), name
            assert any(line.startswith("Carried ") and name in line for line in lines), name
        assert any(line.startswith("Quarantined 1 of") for line in lines)
        assert any("system_settings" in line and "Secrets" in line for line in lines)
        assert any("init --report" in line for line in lines)
        assert SECRET not in "".join(lines)
        assert adoption.last_report(store.database) == foretold
        assert store.inventory.verify().ok
        (commit,) = store.inventory.commits()
        assert SECRET not in str(commit.receipt)
    assert "Quarantined 1 of" in run(database_url, "init", "--report").stdout
    told = json.loads(run(database_url, "init", "--report", "--json").stdout)
    assert told["adopted"] == json.loads(json.dumps(foretold.to_json()))
    caplog.clear()
    with caplog.at_level(logging.INFO, "expresso_persist"):
        Store(database_url, migrate=True, adopt=True).close()
    assert caplog.records == [], "the second start has nothing to say"


def test_there_may_be_no_report(database_url: str) -> None:
    """Where nothing was adopted, or by a version that kept none."""
    Store(database_url, migrate=True).close()
    assert "Nothing was adopted here" in run(database_url, "init", "--report").stdout
    run(database_url, "init", "--report", "--undo", code=2)


def _report(url: str) -> adoption.Adopted:
    database = Database(url)
    try:
        found = adoption.upgrade(database, dry_run=True).adopted
    finally:
        database.close()
    assert found is not None
    return found
