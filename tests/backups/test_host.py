"""The host application's own rows: taken along, bounded, masked, never written."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import BackupManager, HostTable, HostTables
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import Manifest
from expresso_persist.db.tables import data_backups
from expresso_persist.errors import InvalidConfiguration


def rows_of(store: Store, backup_id: str, table: str) -> list[dict[str, object]]:
    with store.database.read() as connection:
        text = connection.scalar(
            sa.select(data_backups.c.manifest).where(data_backups.c.id == backup_id)
        )
        section = Manifest.decode(str(text)).section(f"host:{table}")
        assert section is not None
        chunks = ChunkStore(store.database, store.tenant).read(connection, section.chunks)
    content = b"".join(chunks[chunk] for chunk in section.chunks)
    return [json.loads(line) for line in content.splitlines()]


def manager(store: Store, *tables: HostTable) -> BackupManager:
    return BackupManager(store.database, store.inventory, host_tables=HostTables(tables))


def run(store: Store, *statements: str) -> None:
    with store.database.write() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.fixture
def orders(store: Store) -> Store:
    """The host's tables, with the types that made the replaced system's backups fail."""
    json_type = "jsonb" if store.database.dialect == "postgresql" else "TEXT"
    run(
        store,
        "CREATE TABLE stations (id INTEGER PRIMARY KEY, name VARCHAR(200), updated_at TIMESTAMP)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, order_number VARCHAR(20), "
        f"phone VARCHAR(20), order_details {json_type}, price NUMERIC(10,2), picked BOOLEAN, "
        "created_at TIMESTAMP)",
        "INSERT INTO stations VALUES (1, 'Main', '2026-01-01 08:00:00')",
    )
    with store.database.read() as connection:
        now = store.database.now(connection).replace(tzinfo=None)
    with store.database.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO orders (id, order_number, phone, order_details, price, picked, "
                "created_at) VALUES (:id, :number, '+61 400 000 000', :details, 4.50, NULL, :at)"
            ),
            [
                {
                    "id": number,
                    "number": f"A{number}",
                    "details": '{"drink": "flat white", "phone": "+61 400 000 000"}',
                    "at": (now - dt.timedelta(days=days)).isoformat(" ", "seconds"),
                }
                for number, days in ((1, 30), (2, 8.5), (3, 6.5), (4, 0), (5, -3))
            ],
        )
    return store


def test_orders_with_dates_and_prices_are_taken(orders: Store) -> None:
    """Dates, decimals and JSON are written as JSON; older orders than a week are left out."""
    backup = orders.backups.create()
    assert backup.record_counts["host:stations"] == 1
    assert backup.record_counts["host:orders"] == 3
    found = rows_of(orders, backup.id, "orders")
    assert [row["id"] for row in found] == [3, 4, 5]
    assert float(str(found[0]["price"])) == 4.5
    assert "flat white" in json.dumps(found[0]["order_details"])
    assert rows_of(orders, backup.id, "stations")[0]["name"] == "Main"
    assert backup.verified_at is not None


def test_a_new_order_makes_a_new_backup(orders: Store) -> None:
    """The state includes the host's rows, though they have no revisions."""
    first = orders.backups.create("automatic")
    assert orders.backups.create("automatic").id == first.id
    run(orders, "UPDATE stations SET name = 'Patio'")
    second = orders.backups.create("automatic")
    assert second.id != first.id
    assert second.revision == first.revision


def test_a_limit_takes_the_newest_and_says_so(orders: Store) -> None:
    """The manifest notes that there may be more."""
    backups = manager(orders, HostTable("orders", days=7, limit=2))
    backup = backups.create()
    assert [row["id"] for row in rows_of(orders, backup.id, "orders")] == [4, 5]
    with orders.database.read() as connection:
        text = connection.scalar(sa.select(data_backups.c.manifest))
    section = Manifest.decode(str(text)).section("host:orders")
    assert section is not None
    assert "limit of 2" in section.note


def test_columns_can_be_left_out_and_masked(orders: Store) -> None:
    """Phone numbers are personal: as a column and inside a JSON column."""
    table = HostTable(
        "orders", omit=["order_number"], mask=["phone", "order_details.phone", "nothing.there"]
    )
    backup = manager(orders, table).create()
    found = rows_of(orders, backup.id, "orders")
    assert len(found) == 5
    assert all("order_number" not in row and row["phone"] == "***" for row in found)
    assert "400 000 000" not in json.dumps(found)
    assert "flat white" in json.dumps(found)


def test_what_cannot_be_looked_into_is_masked_whole(store: Store) -> None:
    """A mask that does not fit must not let the value through."""
    run(
        store,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)",
        'INSERT INTO notes VALUES (1, \'call 0400\'), (2, \'[{"phone": "0400", "n": 1}]\'), '
        "(3, NULL)",
    )
    backup = manager(store, HostTable("notes", mask=["body.phone"])).create()
    found = [row["body"] for row in rows_of(store, backup.id, "notes")]
    assert found == ["***", '[{"phone":"***","n":1}]', None]


def test_missing_tables_are_reported(store: Store) -> None:
    """A backup without them is made and says what is absent."""
    backup = store.backups.create()
    assert backup.record_counts["host:orders"] == "absent"
    assert backup.record_counts["host:stations"] == "absent"
    plan = store.backups.plan_restore(backup.id)
    assert plan.host_tables == {"stations": "absent", "orders": "absent"}


def test_other_columns_than_expected_are_no_problem(store: Store) -> None:
    """Tables without the time column, without a key, with broken dates, are taken as they are."""
    run(
        store,
        "CREATE TABLE orders (anything TEXT)",
        "INSERT INTO orders VALUES ('b'), ('a')",
        "CREATE TABLE stations (id INTEGER, at TEXT)",
        "INSERT INTO stations VALUES (10, 'yesterday'), (9, NULL)",
    )
    backup = store.backups.create()
    assert [row["anything"] for row in rows_of(store, backup.id, "orders")] == ["a", "b"]
    assert len(rows_of(store, backup.id, "stations")) == 2


def test_a_table_that_cannot_be_read_is_reported(store: Store) -> None:
    """It does not stop the backup of the rest, and the status warns of it."""
    run(store, "CREATE VIEW orders AS SELECT 1/0 AS id")
    if store.database.dialect == "sqlite":  # where 1/0 is NULL
        run(store, "DROP VIEW orders", "CREATE VIEW orders AS SELECT missing() AS id")
    backup = store.backups.create("automatic")
    assert backup.record_counts["host:orders"] == "unreadable"
    assert backup.record_counts["host:stations"] == "absent"
    assert backup.verified_at is not None
    assert any("orders" in warning for warning in store.backups.status()["warnings"])


def test_a_restore_never_writes_host_tables(orders: Store) -> None:
    """It reports them instead."""
    from expresso_persist.model.records import Put, Setting

    backup = orders.backups.create()
    run(orders, "DELETE FROM orders")
    orders.inventory.commit([Put(Setting.of("a", data=1))], actor="test")
    done = orders.backups.restore(backup.id, actor="test")
    assert done.host_tables == {"stations": 1, "orders": 3}
    assert any("not restored" in sentence for sentence in done.summary)
    with orders.database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM orders")) == 0


def test_tenants_do_not_get_each_others_rows(store: Store) -> None:
    """A table that tells tenants apart is filtered; one that does not is the default's alone."""
    run(
        store,
        "CREATE TABLE stations (id INTEGER PRIMARY KEY, tenant_id TEXT)",
        "INSERT INTO stations VALUES (1, 'default'), (2, 'other')",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
        "INSERT INTO orders VALUES (1)",
    )
    other = store.for_tenant("other")
    backup = other.backups.create()
    assert [row["id"] for row in rows_of(other, backup.id, "stations")] == [2]
    assert backup.record_counts["host:orders"] == "absent"
    mine = store.backups.create()
    assert [row["id"] for row in rows_of(store, mine.id, "stations")] == [1]
    assert mine.record_counts["host:orders"] == 1


def test_a_table_is_named_once() -> None:
    """Two sections of one name could not be told apart."""
    with pytest.raises(InvalidConfiguration):
        HostTables([HostTable("orders"), HostTable("orders", days=1)])
