"""Something else drops our tables: start, `health` and `doctor` say so; no empty store begins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from expresso_persist import BackupManager, Put, Store
from expresso_persist.backups.mirrors import Mirror
from expresso_persist.cli import cli
from expresso_persist.db.database import Database
from expresso_persist.db.migrations import MARKER, VERSION_TABLE
from expresso_persist.db.tables import metadata
from expresso_persist.errors import SchemaMismatch, TablesDropped
from expresso_persist.model.records import Setting

HEALTH = "/api/migration/health"
UPDATE = "/api/inventory/settings/update"
ALL = [table.name for table in reversed(metadata.sorted_tables)] + [VERSION_TABLE]


def drop(url: str, names: Iterable[str] = ALL, *, emptied: bool = False) -> None:
    """Drop tables as somebody else's migration does; ``emptied`` makes them again."""
    database = Database(url)
    try:
        with database.write() as connection:
            for name in names:
                cascade = " CASCADE" if database.dialect == "postgresql" else ""
                connection.execute(sa.text(f"DROP TABLE {name}{cascade}"))
            if emptied:
                metadata.create_all(connection)
                connection.execute(sa.text(f"CREATE TABLE {VERSION_TABLE} (version_num TEXT)"))
    finally:
        database.close()


def tables(url: str) -> set[str]:
    database = Database(url)
    try:
        with database.read() as connection:
            return {*sa.inspect(connection).get_table_names()}
    finally:
        database.close()


def fill(store: Store) -> None:
    store.inventory.commit([Put(Setting.of("theme", data="dark"))], actor="anna")
    store.backups.create("manual")


def run(url: str, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*words, "--database", url])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (ALL, "All tables of expresso-persist"),
        (["event_stock_levels"], "dropped: event_stock_levels"),
        (["backup_chunks", "changes"], "dropped: backup_chunks, changes"),
        ([VERSION_TABLE], VERSION_TABLE),
    ],
    ids=["all", "one", "two", "version"],
)
def test_a_start_is_refused(database_url: str, names: list[str], told: str) -> None:
    """With and without `migrate`, by every way in, and nothing is made."""
    with Store(database_url, migrate=True) as store:
        fill(store)
    drop(database_url, names)
    before = tables(database_url)
    for migrate in (True, False):
        with pytest.raises(TablesDropped, match=told):
            Store(database_url, migrate=migrate)
        with pytest.raises(TablesDropped, match=told):
            BackupManager.from_url(database_url, migrate=migrate)
    for words in (("init",), ("init", "--dry-run"), ("status",), ("serve", "--port", "0")):
        assert told in run(database_url, *words, code=1).stderr
    assert "PROBLEM" in (found := run(database_url, "doctor", code=1).stdout)
    assert "schema: " in found
    assert told in found
    assert tables(database_url) == before


@pytest.mark.parametrize(
    "how", [{"names": ALL}, {"names": ["event_inventory"]}, {"names": ALL, "emptied": True}]
)
def test_a_running_server_says_so(
    client: Callable[..., Any], store: Store, database_url: str, how: dict[str, Any]
) -> None:
    """503 with the sentence, `health` first of all; no new store begins beside what was."""
    fill(store)
    assert client("GET", HEALTH, token=None).status == 200
    drop(database_url, **how)
    for method, path, body in (
        ("GET", HEALTH, None),
        ("GET", "/api/inventory/get-all", None),
        ("POST", UPDATE, {"key": "a", "value": 1}),
    ):
        answer = client(method, path, body)
        if how["names"] is not ALL and path == UPDATE:
            continue  # the tables that it needs are there
        assert answer.status == 503, (path, answer.body)
        assert "init --fresh" in answer.json["error"] or "doctor" in answer.json["error"]
    health = client("GET", HEALTH, token=None).json
    assert (health["code"], health["success"]) == ("tables_dropped", False)
    if how.get("emptied"):
        database = Database(database_url)
        with database.read() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM tenants")) == 0
        database.close()


def test_where_the_newest_copy_is(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names it, and the way that it names leads back to the data."""
    folder = tmp_path / "the mirror"
    folder.mkdir()
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", f"'{folder}'")
    with Store(database_url, migrate=True) as store:
        fill(store)
        assert [synced.error for synced in store.backups.sync_mirrors()] == [None]
        made = store.backups.list()[0].id
    drop(database_url)
    with pytest.raises(TablesDropped) as refused:
        Store(database_url, migrate=True)
    assert f"backup restore {made} --from '{folder}'" in refused.value.message
    assert made in run(database_url, "doctor", code=1).stdout
    assert "Ran migration" in run(database_url, "init", "--fresh").stdout
    run(database_url, "backup", "restore", made, "--from", str(folder), "--yes")
    with Store(database_url) as store:
        assert store.inventory.settings() == {"theme": "dark"}
        assert store.inventory.verify().ok
        assert store.init() == []


def test_some_tables_are_made_again_and_filled_from_a_backup(database_url: str) -> None:
    """What is still there stays; the records come back from the backups of the same store."""
    with Store(database_url, migrate=True) as store:
        fill(store)
    drop(database_url, ["system_settings", "event_inventory"])
    lines = run(database_url, "init", "--fresh").stdout
    assert "Made event_inventory again, empty." in lines
    run(database_url, "backup", "restore", "latest", "--yes")
    with Store(database_url) as store:
        assert store.inventory.settings() == {"theme": "dark"}
        assert store.inventory.verify().ok


def test_made_again_empty(database_url: str) -> None:
    """As a host's `alembic downgrade` does: the empty tables make room, full ones do not."""
    with Store(database_url, migrate=True) as store:
        fill(store)
    drop(database_url, emptied=True)
    run(database_url, "init", "--fresh")
    with Store(database_url) as store:
        fill(store)
    drop(database_url, [VERSION_TABLE])
    refused = run(database_url, "init", "--fresh", code=1).stderr
    assert "data_backups" in refused
    assert "still hold rows" in refused
    assert "data_backups" in tables(database_url)


def test_fresh_is_for_dropped_tables_only(database_url: str) -> None:
    """In a new database, and in one that lacks nothing, it is refused and changes nothing."""
    assert "No tables" in run(database_url, "init", "--fresh", code=1).stderr
    run(database_url, "init")
    assert "No tables" in run(database_url, "init", "--fresh", code=1).stderr
    run(database_url, "init", "--fresh", "--dry-run", code=2)
    with Store(database_url) as store:
        assert store.init() == []


def test_without_the_mark_it_is_a_new_database(database_url: str) -> None:
    """To drop the view as well is deliberate; and the view is no table to Alembic."""
    Store(database_url, migrate=True).close()
    drop(database_url)
    database = Database(database_url)
    with database.write() as connection:
        assert sa.inspect(connection).get_view_names() == [MARKER]
        connection.execute(sa.text(f"DROP VIEW {MARKER}"))
    database.close()
    Store(database_url, migrate=True).close()


def test_a_new_database_beside_a_full_mirror(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The file or the volume was lost, mark and all: the log says where the data is."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with Store(f"sqlite:///{tmp_path / 'lost.db'}", migrate=True) as lost:
        fill(lost)
        with BackupManager(lost.database, lost.inventory, mirrors=[Mirror(str(folder))]) as backups:
            backups.sync_mirrors()
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", str(folder))
    with caplog.at_level(logging.WARNING, "expresso_persist"):
        opened = Store(database_url, migrate=True)
    with opened as store:
        assert "This database is new." in caplog.text
        assert "copy of revision 1" in caplog.text
        assert "copy of revision 1" in run(database_url, "doctor", code=1).stdout
        # Also when nobody read the log: the mirror's copies are kept, and the status says so.
        (synced,) = store.backups.sync_mirrors()
        assert synced.deleted == ()
        assert any("copy of revision 1" in line for line in store.backups.status()["warnings"])
        health = store.backups.health()
        assert not health["ok"]
        assert "A mirror has data" in health["warning"], "strangers may ask, so no more than that"
        (copy,) = Mirror(str(folder)).copies()
        with Mirror(str(folder)).open(copy) as archive:
            store.backups.import_(archive)
        store.backups.restore(copy.id, actor="anna")
        store.backups.sync_mirrors()
        assert "warning" not in store.backups.health()


def test_a_failed_mark_is_no_store(database_url: str) -> None:
    """Tables of another program under our names are told apart from dropped ones."""
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE tenants (name TEXT)"))
    database.close()
    with pytest.raises(SchemaMismatch, match="other columns") as refused:
        Store(database_url, migrate=True)
    assert not isinstance(refused.value, TablesDropped)
