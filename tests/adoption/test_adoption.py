"""A database of the replaced system becomes one of ours, and nothing of it is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from expresso_persist import Store, adoption
from expresso_persist.db.database import Database
from expresso_persist.db.tables import metadata
from expresso_persist.errors import ConflictRefused, SchemaMismatch
from expresso_persist.model.records import Put, Setting
from legacy_database import COLUMNS, LegacyDatabase

HOST = ("stations", "orders", "settings", "users")
SECRETS = ("eyJhbGciOiJIUzI1NiJ9", "hunter2hunter2")


def report(url: str, **options: Any) -> adoption.Report:
    database = Database(url)
    try:
        return adoption.upgrade(database, **options)
    finally:
        database.close()


@pytest.mark.parametrize("size", [(600, 12)])
def test_everything_is_carried_over(database_url: str, size: tuple[int, int]) -> None:
    """Row by row; ``EXPRESSO_ADOPTION_ROWS=10000`` makes it the size of a large event."""
    items = int(os.environ.get("EXPRESSO_ADOPTION_ROWS", size[0]))
    backups = 60 if items > size[0] else size[1]
    old = LegacyDatabase(database_url)
    old.fill(items, backups)
    before = {name: old.rows(name) for name in COLUMNS}

    foretold = report(database_url, dry_run=True)
    assert {name: old.rows(name) for name in COLUMNS} == before, "a dry run changes nothing"
    assert old.names() == {*COLUMNS}
    done = report(database_url)
    assert foretold.adopted == done.adopted
    assert len(foretold.steps) == len(done.steps)
    assert report(database_url) == adoption.Report(), "the second time there is nothing to do"

    for name, rows in before.items():
        assert old.rows(name if name in HOST else f"legacy_{name}") == rows, name
    with Store(database_url) as store:
        (commit,) = store.inventory.changes(0).commits
        assert (commit.source, commit.actor) == ("adoption", "adoption")
        assert store.inventory.verify().ok
        inventory = store.inventory
        items_of = inventory.document("event_inventory").value
        for row in before["event_inventory"]:
            assert items_of[row["category"]][row["item_name"]] == {"enabled": bool(row["enabled"])}
        for row in before["event_stock_levels"]:
            record = inventory.get("event_stock", row["category"], row["item_name"])
            assert record is not None
            assert record.data == {
                "category": row["category"],
                "total": float(row["total_quantity"]),
                "allocated": float(row["allocated_quantity"]),
                "available": float(row["available_quantity"]),
                "unit": "kg",
                "low_stock_threshold": 10,
            }
        for row in before["station_inventory_quantities"]:
            record = inventory.get("station_quantity", str(row["station_id"]), "", row["item_name"])
            assert record is not None
            data: Any = record.data
            quantity = data["quantity"] if isinstance(data, dict) else data
            assert quantity == float(row["quantity"])
            allotted = data["allocated_from_stock"] if isinstance(data, dict) else 0
            assert allotted == float(row["allocated_from_stock"])
        configs = inventory.document("station_inventory_configs").value
        for row in before["station_inventory_configs"]:
            config = configs[str(row["station_id"])]
            assert config["station_name"] == row["station_name"]
            assert config["milk"] == {"Oat": True}
            assert config["n"] == [row["station_id"], 0.125]
        assert inventory.settings() == {
            "theme": {"dark": True},
            "hall": "North",
            "sms": {"on": True},
        }
        check_backups(store, before["data_backups"])
    assert done.adopted is not None
    told = " ".join(done.steps)
    assert "coffee_system_token" in told
    assert "sms" in told
    ours = {name: lines for name, lines in old.dump().items() if name in metadata.tables}
    for secret in SECRETS:
        assert secret not in told + repr(done.adopted.to_json()) + repr(ours)


def check_backups(store: Store, rows: list[dict[str, Any]]) -> None:
    """Every old backup is listed with its time, verifies, and restores what it shows."""
    found = store.backups.list()
    assert len(found) == len(rows)
    for backup, row in zip(found, reversed(rows), strict=True):
        assert f"number {row['id'] - 1}" in backup.notes
        assert row["backup_type"] in backup.notes
        assert store.backups.verify(backup.id).ok
    newest = found[0]
    store.backups.restore(newest.id, actor="test")
    number = len(rows) - 1
    assert store.inventory.settings()["theme"] == {"dark": False}
    quantities = store.inventory.document("station_inventory_quantities").value
    assert quantities == {"1": {"Item 1": number}} or quantities["1"]["Item 1"] in (
        number,
        {"quantity": number, "allocated_from_stock": 1},
    )
    assert store.backups.create("automatic").backup_type == "automatic"


def test_undo_brings_the_old_tables_back(database_url: str) -> None:
    """Until something is written; the second adoption finds the same."""
    old = LegacyDatabase(database_url)
    old.fill(30, 2)
    before = {name: old.rows(name) for name in COLUMNS}
    first = report(database_url)
    with Store(database_url) as store:
        store.backups.create("automatic")
        adoption.undo(store.database)
    assert old.names() == {*COLUMNS}
    assert {name: old.rows(name) for name in COLUMNS} == before
    assert report(database_url).adopted == first.adopted
    with Store(database_url) as store:
        store.inventory.commit([Put(Setting.of("new", data=1))], actor="anna")
        with pytest.raises(ConflictRefused, match="changes since"):
            adoption.undo(store.database)
        assert store.inventory.settings()["new"] == 1


def test_undo_of_nothing_says_so(sqlite_url: str) -> None:
    with Store(sqlite_url, migrate=True) as store, pytest.raises(ConflictRefused, match="Nothing"):
        adoption.undo(store.database)


def test_rows_that_break_a_rule_are_kept_aside(database_url: str) -> None:
    """Reported, in quarantine and in the legacy table; the others are carried over."""
    old = LegacyDatabase(database_url)
    nan = "'NaN'" if old.dialect == "postgresql" else "'not a number'"
    old.insert(
        "event_inventory",
        {"category": "milk", "item_name": "good", "enabled": True},
        {"category": "milk", "item_name": "maybe", "enabled": None},
        {"category": "milk", "item_name": "good", "enabled": False},
        {"category": None, "item_name": "nowhere", "enabled": True},
        {"category": "milk", "item_name": "__proto__", "enabled": True},
    )
    old.insert(
        "event_stock_levels",
        {"category": "milk", "item_name": "none", "total_quantity": None},
        {"category": "milk", "item_name": "some", "total_quantity": 0.13},
    )
    old.run(
        f"INSERT INTO station_inventory_quantities (station_id, item_name, quantity) "
        f"VALUES (1, 'x', {nan}), (1, 'y', 2)"
    )
    done = report(database_url)
    assert done.adopted is not None
    assert done.adopted.needs_a_look
    counts = {t.name: (t.rows, t.carried, len(t.quarantined)) for t in done.adopted.tables}
    assert counts["event_inventory"] == (5, 2, 3)
    assert counts["event_stock_levels"] == (2, 1, 1)
    assert counts["station_inventory_quantities"] == (2, 1, 1)
    with Store(database_url) as store:
        assert store.inventory.document("event_inventory").value == {
            "milk": {"good": {"enabled": True}, "__proto__": {"enabled": True}}
        }
        aside = store.inventory.records("quarantined")
        assert len(aside) == 5
        assert any("maybe" in repr(record.data) for record in aside)
    assert len(old.rows("legacy_event_inventory")) == 5


@pytest.mark.parametrize(
    "tables",
    [
        ("event_inventory",),
        ("station_inventory_quantities", "orders"),
        ("system_settings", "user_preferences", "app_state"),
        ("data_backups",),
    ],
)
def test_some_of_the_tables_and_further_columns(database_url: str, tables: tuple[str, ...]) -> None:
    old = LegacyDatabase(database_url, tables)
    old.run(f"ALTER TABLE {tables[0]} ADD COLUMN supplier text")
    if tables[0] == "event_inventory":
        old.insert("event_inventory", {"category": "a", "item_name": "b", "enabled": True})
        old.run("UPDATE event_inventory SET supplier = 'Anna and Co'")
    done = report(database_url)
    assert done.adopted is not None
    with Store(database_url) as store:
        assert store.inventory.head().revision == 1
        if tables[0] == "event_inventory":
            record = store.inventory.get("event_inventory", "a", "b")
            assert record is not None
            assert record.data == {"enabled": True, "supplier": "Anna and Co"}
    assert "supplier" in " ".join(done.steps) or tables[0] == "data_backups"


@pytest.mark.parametrize("tables", [HOST, ("user_preferences", "app_state"), ()])
def test_what_is_not_the_replaced_systems_is_left_alone(
    database_url: str, tables: tuple[str, ...]
) -> None:
    """A host's tables of such names are no legacy tables; ours do not clash with them."""
    old = LegacyDatabase(database_url, tables)
    before = old.names()
    done = report(database_url)
    assert done.adopted is None
    assert before <= old.names()
    assert not [name for name in old.names() if name.startswith("legacy_")]


def test_a_table_of_the_hosts_own_in_the_way_is_told(database_url: str) -> None:
    """Before anything is changed."""
    old = LegacyDatabase(database_url, ["event_inventory", "orders"])
    old.run("CREATE TABLE commits (sha text)")
    before = old.dump()
    for dry_run in (True, False):
        with pytest.raises(SchemaMismatch, match="commits"):
            report(database_url, dry_run=dry_run)
    assert old.dump() == before


def test_the_command_tells_it_all(database_url: str) -> None:
    """In sentences and as JSON; exit status 3 when rows want a look."""
    old = LegacyDatabase(database_url)
    old.fill(30, 2)
    old.insert("event_inventory", {"category": "a", "item_name": "b", "enabled": None})

    def init(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "expresso_persist", "init", "--database", database_url]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    foretold = init("--dry-run")
    assert "Would carry 10 of 11 rows of event_inventory over." in foretold.stdout
    assert "Would quarantine 1 of 11 rows of event_inventory, which break a rule" in foretold.stdout
    assert "row 11: enabled is empty.\n" in foretold.stdout
    assert "Would rename" in foretold.stdout
    assert "coffee_system_token" in foretold.stdout
    done = init("--json")
    assert done.returncode == foretold.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert {t["name"]: t["carried"] for t in told["adopted"]["tables"]}["data_backups"] == 2
    assert not any(secret in done.stdout + foretold.stdout for secret in SECRETS)
    assert init().stdout == "The database is up to date.\n"
    back = init("--undo")
    assert (back.returncode, old.names()) == (0, {*COLUMNS}), back.stderr
    again = init("--undo")
    assert again.returncode == 1
    assert "Nothing was adopted here" in again.stderr


def test_backups_that_cannot_be_read_stay_in_the_old_table(database_url: str) -> None:
    old = LegacyDatabase(database_url)
    for data, status in (([1], "completed"), ({}, "completed"), ({"inventory": {}}, "failed")):
        old.insert(
            "data_backups",
            {"backup_type": "manual", "backup_data": data, "backup_status": status},
        )
    old.insert(
        "data_backups",
        {"backup_type": "manual", "backup_data": {"inventory": {}, "settings": {}}},
    )
    done = report(database_url)
    assert done.adopted is not None
    (table,) = [table for table in done.adopted.tables if table.name == "data_backups"]
    assert (table.rows, table.carried, len(table.quarantined)) == (4, 1, 3)
    with Store(database_url) as store:
        (backup,) = store.backups.list()
        assert "holds nothing" in backup.notes
        assert store.backups.verify(backup.id).ok


def test_a_failure_leaves_everything_as_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = LegacyDatabase(database_url)
    old.fill(30, 2)
    before = old.dump()

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("expresso_persist.backups.making.Writer.store", fails)
    with pytest.raises(RuntimeError):
        report(database_url)
    assert old.dump() == before
    monkeypatch.undo()
    old.run("CREATE TABLE legacy_event_inventory (id integer)")
    with pytest.raises(SchemaMismatch, match="legacy_event_inventory"):
        report(database_url)
    old.run("DROP TABLE legacy_event_inventory")
    assert old.dump() == before
    assert report(database_url).adopted is not None


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from expresso_persist import adoption
from expresso_persist.db.database import Database
database, wanted, seen = Database(sys.argv[1]), int(sys.argv[2]), 0

@sa.event.listens_for(database.engine, "before_cursor_execute")
def count(*_):
    global seen
    seen += 1
    if seen == wanted:
        os.kill(os.getpid(), signal.SIGKILL)

adoption.upgrade(database)
print(seen)
"""


def test_killed_at_any_point_it_happened_or_did_not(database_url: str) -> None:
    """``EXPRESSO_FAULT_ROUNDS`` adds points."""
    old = LegacyDatabase(database_url)
    old.fill(30, 2)
    before = old.dump()
    rounds = int(os.environ.get("EXPRESSO_FAULT_ROUNDS", "4"))
    for point in [n * 200 // rounds + 3 for n in range(rounds)]:
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, database_url, str(point)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode == 0:
            break  # there are no more points
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert old.dump() == before, point
    if ended.returncode:
        assert report(database_url).adopted is not None
    with Store(database_url) as store:
        assert store.inventory.head().revision == 1


def test_two_at_once_adopt_once(database_url: str) -> None:
    old = LegacyDatabase(database_url)
    old.fill(90, 3)
    code = (
        "import sys; from expresso_persist import Store; "
        "Store(sys.argv[1], migrate=True, adopt=True).close()"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, database_url]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    with Store(database_url) as store:
        assert store.inventory.head().revision == 1
        assert len(store.backups.list()) == 3


def test_times_are_the_servers(postgresql_url: str) -> None:
    """They had no zone; what the server's zone was then, it is now."""
    old = LegacyDatabase(postgresql_url)
    with old.engine.connect() as connection:
        name = connection.scalar(sa.text("SELECT current_database()"))
    old.run(f"ALTER DATABASE \"{name}\" SET timezone TO 'Australia/Sydney'")
    old.insert(
        "data_backups",
        {
            "backup_type": "manual",
            "backup_data": {"inventory": {}, "settings": {"a": 1}},
            "created_at": "2026-01-15 12:00:00",
        },
    )
    done = report(postgresql_url)
    assert "Australia/Sydney" in " ".join(done.steps)
    with Store(postgresql_url) as store:
        (backup,) = store.backups.list()
        assert backup.created_at.isoformat() == "2026-01-15T01:00:00+00:00"
