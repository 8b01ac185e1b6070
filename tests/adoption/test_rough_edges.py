"""What real databases hold that no driver, index or moment expects."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from expresso_persist import Store, adoption
from expresso_persist.commits.decision import CommitRequest
from expresso_persist.db.database import Database
from expresso_persist.errors import ConflictRefused
from expresso_persist.model.records import Adjust, Put, RecordKey, Setting
from legacy_database import LegacyDatabase

PLAIN = {"category": "milk", "item_name": "oat", "enabled": True}


def adopted(url: str) -> adoption.Report:
    database = Database(url)
    try:
        dry = adoption.upgrade(database, dry_run=True)
        done = adoption.upgrade(database)
        assert dry.adopted == done.adopted
        return done
    finally:
        database.close()


def test_rows_without_an_id_are_carried_over(database_url: str) -> None:
    """Somebody copied the table with CREATE TABLE AS: no primary key any more."""
    old = LegacyDatabase(database_url, ["stations"])
    old.run(
        "CREATE TABLE event_inventory "
        "(id integer, category varchar(100), item_name varchar(200), enabled boolean)"
    )
    old.run(
        "INSERT INTO event_inventory VALUES "
        "(NULL, 'milk', 'a', true), (1, 'milk', 'b', true), (1, 'milk', 'c', false)"
    )
    done = adopted(database_url)
    assert done.adopted is not None
    (table,) = done.adopted.tables
    assert (table.rows, table.carried) == (3, 3)
    with Store(database_url) as store:
        items = {record.parts[1] for record in store.inventory.records("event_inventory")}
        assert items == {"a", "b", "c"}


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC", "20000-01-01"])
def test_times_that_python_does_not_know(postgresql_url: str, moment: str) -> None:
    old = LegacyDatabase(postgresql_url)
    old.insert("event_inventory", {**PLAIN, "created_at": moment})
    old.insert("app_state", {"state_key": "s", "state_value": 1, "expires_at": moment})
    old.insert(
        "data_backups",
        {"backup_type": "manual", "backup_data": {"settings": {"a": 1}}, "created_at": moment},
    )
    adopted(postgresql_url)
    with Store(postgresql_url) as store:
        assert store.inventory.get("event_inventory", "milk", "oat") is not None
        state = store.inventory.document("app_state:s")
        assert state is not None
        assert isinstance(state.value, dict)
        assert state.value["expires_at"]  # kept as what it says
        (backup,) = store.backups.list()
        assert store.backups.verify(backup.id).ok


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("uuid", "'6f1e2d3c-0000-4000-8000-000000000001'", "6f1e2d3c-0000-4000-8000-000000000001"),
        ("inet", "'10.0.0.1'", "10.0.0.1/32"),
        ("int4range", "'[1,5)'", "[1,5)"),
        ("interval", "'100000 years'", "100000 years"),
        ("date", "'infinity'", "infinity"),
        ("numeric", "'NaN'", "NaN"),
        ("text[]", "'{a,b}'", "{a,b}"),
        ("bytea", "'\\xff00'", "\\xff00"),
        ("jsonb", "'{\"a\": [1]}'", {"a": [1]}),
        ("bigint", "5", 5),
        ("boolean", "true", True),
    ],
)
def test_further_columns_of_any_type(
    postgresql_url: str, kind: str, value: str, kept: object
) -> None:
    """Beside a good row and a bad one: what the host added is no reason to fail."""
    old = LegacyDatabase(postgresql_url)
    old.run(f"ALTER TABLE event_inventory ADD COLUMN added {kind}")
    old.run(
        "INSERT INTO event_inventory (category, item_name, enabled, added) VALUES "
        f"('milk', 'oat', true, {value}), ('milk', 'soy', NULL, {value})"
    )
    done = adopted(postgresql_url)
    assert done.adopted is not None
    with Store(postgresql_url) as store:
        record = store.inventory.get("event_inventory", "milk", "oat")
        if kept == "NaN":
            assert record is None  # no number of JSON: it is in quarantine
            assert len(store.inventory.records("quarantined")) == 2
            return
        assert record is not None
        assert record.data == {"enabled": True, "added": kept}
        assert len(store.inventory.records("quarantined")) == 1


def test_numbers_of_json_columns_keep_their_digits(sqlite_url: str) -> None:
    """A column that calls itself JSON holds a real number in SQLite; as text it has 15 digits."""
    old = LegacyDatabase(sqlite_url, ["stations"])
    old.run("CREATE TABLE system_settings (id integer, setting_key text, setting_value JSON)")
    old.run("INSERT INTO system_settings VALUES (1, 'ratio', 0.30000000000000004)")
    adopted(sqlite_url)
    with Store(sqlite_url) as store:
        assert store.inventory.settings()["ratio"] == 0.30000000000000004


def test_names_of_old_indexes_are_not_in_the_way(postgresql_url: str) -> None:
    """As after a host's own naming convention; undo gives the names back."""
    old = LegacyDatabase(postgresql_url)
    old.insert("event_inventory", PLAIN)
    old.run("ALTER INDEX event_inventory_pkey RENAME TO pk_event_inventory")
    old.run("CREATE INDEX ix_data_backups_tenant_id_created_at ON data_backups (created_at)")
    before = relations(old)
    adopted(postgresql_url)
    with Store(postgresql_url) as store:
        assert store.inventory.get("event_inventory", "milk", "oat") is not None
        adoption.undo(store.database)
    assert relations(old) == before


def relations(old: LegacyDatabase) -> list[str]:
    with old.engine.connect() as connection:
        query = (
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "ORDER BY 1"
        )
        return [*connection.execute(sa.text(query)).scalars()]


def test_a_row_that_comes_while_the_adoption_waits_is_carried_over(postgresql_url: str) -> None:
    """The old server is still at it, and the host's engine has snapshots by default."""
    old = LegacyDatabase(postgresql_url)
    old.insert("event_inventory", PLAIN)
    url = make_url(postgresql_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="REPEATABLE READ")
    writer = psycopg.connect(postgresql_url)
    writer.execute(
        "INSERT INTO event_inventory (category, item_name, enabled) VALUES ('x', 'late', true)"
    )
    try:
        worker = threading.Thread(target=adoption.upgrade, args=[Database(engine=engine)])
        worker.start()
        with psycopg.connect(postgresql_url, autocommit=True) as watcher:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while watcher.execute(waiting).fetchone() == (0,):
                assert worker.is_alive()
        writer.commit()
        worker.join()
    finally:
        writer.close()
        engine.dispose()
    with Store(postgresql_url) as store:
        assert store.inventory.get("event_inventory", "x", "late") is not None


def test_undo_loses_no_commit_that_is_under_way(postgresql_url: str) -> None:
    """It waits for it, and then refuses."""
    old = LegacyDatabase(postgresql_url)
    old.insert("event_inventory", PLAIN)
    adopted(postgresql_url)
    ends: list[object] = []

    def undo(database: Database) -> None:
        try:
            ends.append(adoption.undo(database))
        except Exception as error:
            ends.append(error)

    with Store(postgresql_url) as store, Store(postgresql_url) as other:
        with store.database.write() as connection:
            store.inventory.commit_within(
                connection, [Put(Setting.of("late", data=1))], CommitRequest(actor="anna")
            )
            worker = threading.Thread(target=undo, args=[other.database])
            worker.start()
            with psycopg.connect(postgresql_url, autocommit=True) as watcher:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while watcher.execute(waiting).fetchone() == (0,):
                    assert worker.is_alive()
        worker.join()
        assert isinstance(ends[0], ConflictRefused)
        assert store.inventory.settings()["late"] == 1


def test_undo_refuses_when_somebody_made_a_backup(database_url: str) -> None:
    """One by hand, or from an archive, was meant to stay; the scheduler's go along."""
    old = LegacyDatabase(database_url)
    old.fill(12, 2)
    adopted(database_url)
    with Store(database_url) as store:
        store.backups.create("automatic")
        made = store.backups.create("manual", notes="before the doors open")
        with pytest.raises(ConflictRefused, match="backup"):
            adoption.undo(store.database)
        assert store.backups.get(made.id).notes == "before the doors open"


def test_looking_at_it_as_another_tenant_is_no_change(database_url: str) -> None:
    old = LegacyDatabase(database_url)
    old.insert("event_inventory", PLAIN)
    adopted(database_url)
    with Store(database_url, tenant="other") as other:
        assert other.inventory.head().revision == 0
        adoption.undo(other.database)
    assert "event_inventory" in old.names()


def test_a_dry_run_leaves_every_byte(tmp_path: Path) -> None:
    """Also those by which SQLite remembers how it keeps its journal."""
    path = tmp_path / "old.db"
    old = LegacyDatabase(f"sqlite:///{path}")
    old.fill(12, 1)
    old.engine.dispose()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    from click.testing import CliRunner

    from expresso_persist.cli import cli

    result = CliRunner().invoke(cli, ["init", "--dry-run", "--database", f"sqlite:///{path}"])
    assert result.exit_code in (0, 3), result.output
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]


def test_adopted_numbers_can_be_worked_with(database_url: str) -> None:
    old = LegacyDatabase(database_url)
    old.insert("event_stock_levels", {"item_name": "oat", "category": "milk", "total_quantity": 3})
    adopted(database_url)
    with Store(database_url) as store:
        key = RecordKey("event_stock", ("milk", "oat"))
        store.inventory.commit([Adjust(key, "total", -0.5)], actor="anna")
        record = store.inventory.get(*("event_stock", "milk", "oat"))
        assert record is not None
        assert record.data["total"] == 2.5  # type: ignore[index,call-overload]
        assert store.inventory.verify().ok
