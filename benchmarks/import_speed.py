"""Import of N items against one upsert and commit per row, and against bare COPYs.

The row-at-a-time import writes one table (with the columns that the replaced system's has:
a serial id, two times, who did it) and no audit trail;
ours writes the records, a change each, the commit and the layout, and proves the document
before. The COPY is the same rows into the same tables, already in memory: the floor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from expresso_persist import Store
from expresso_persist.db.tables import RECORD_TABLES
from expresso_persist.db.tables import changes as changes_table

SERIAL = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "SERIAL PRIMARY KEY"}
UPSERT = sa.text(
    "INSERT INTO benchmark_rows (category, item_name, enabled, created_by) "
    "VALUES (:c, :n, :e, 'benchmark') ON CONFLICT (category, item_name) "
    "DO UPDATE SET enabled = excluded.enabled, updated_at = CURRENT_TIMESTAMP"
)


def best(action: Callable[[], None], times: int) -> float:
    """The shortest of several runs, in seconds."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        durations.append(time.perf_counter() - started)
    return min(durations)


def dump(items: int) -> bytes:
    """A localStorage dump with an inventory of this many items."""
    tag = uuid.uuid4().hex[:6]
    inventory = {
        "milk": [
            {
                "id": f"milk_{tag}_{number}",
                "name": f"Milk number {number}",
                "description": "Regular dairy milk",
                "enabled": True,
                "category": "milk",
            }
            for number in range(items)
        ]
    }
    text = json.dumps(inventory, separators=(",", ":"))
    return json.dumps({"localStorage": {"event_inventory": text}}).encode()


def ours(store: Store, content: bytes) -> None:
    """One import into a tenant that is empty."""
    tenant = store.for_tenant(uuid.uuid4().hex)
    tenant.importer.import_(content, actor="benchmark")


def row_at_a_time(store: Store, items: int) -> None:
    """One statement and one commit for each row."""
    name = uuid.uuid4().hex
    with store.database.engine.connect() as connection:
        for number in range(items):
            values = {"c": name, "n": f"Milk number {number}", "e": True}
            connection.execute(UPSERT, values)
            connection.commit()


def bare_copy(store: Store, items: int) -> float:
    """The rows that an import of this size made, inserted again for another tenant."""
    source, target = uuid.uuid4().hex, uuid.uuid4().hex
    store.for_tenant(source).importer.import_(dump(items), actor="benchmark")
    tables = (RECORD_TABLES["event_inventory"], changes_table)
    with store.database.read() as connection:
        rows = [
            [
                {**row, "tenant_id": target}
                for row in connection.execute(
                    sa.select(table).where(table.c.tenant_id == source)
                ).mappings()
            ]
            for table in tables
        ]
    started = time.perf_counter()
    with store.database.write() as connection:
        for table, content in zip(tables, rows, strict=True):
            store.database.bulk_insert(connection, table, content, len(content))
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", help="URL of a PostgreSQL database to measure too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    urls = {"SQLite": f"sqlite:///{folder / 'benchmark.db'}"}
    if arguments.postgresql:
        urls["PostgreSQL"] = arguments.postgresql
    table = Table("database", "items", "import", "row at a time", "times faster", "times a COPY")
    for name, url in urls.items():
        with Store(url, migrate=True) as store:
            with store.database.engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE IF EXISTS benchmark_rows"))
                connection.execute(
                    sa.text(
                        f"CREATE TABLE benchmark_rows (id {SERIAL[store.database.dialect]}, "
                        "category VARCHAR(100) NOT NULL, item_name VARCHAR(200) NOT NULL, "
                        "enabled BOOLEAN DEFAULT true, "
                        "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "
                        "updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "
                        "created_by VARCHAR(100), UNIQUE (category, item_name))"
                    )
                )
            for items in (100, 1_000, 10_000):
                content = dump(items)
                mine = best(lambda s=store, c=content: ours(s, c), 5)  # type: ignore[misc]
                theirs = best(lambda s=store, n=items: row_at_a_time(s, n), 2)  # type: ignore[misc]
                copy = min(bare_copy(store, items) for _ in range(3))
                table.add_row(
                    name,
                    f"{items:,}",
                    f"{mine * 1e3:.1f} ms",
                    f"{theirs * 1e3:.1f} ms",
                    f"{theirs / mine:.1f}",
                    f"{mine / copy:.1f}",
                )
            with store.database.engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE benchmark_rows"))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
