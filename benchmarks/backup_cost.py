"""Fifty backups of an event day in which 1 % of the records change per interval.

Beside them, of the same states: the whole state as JSON each time, as the replaced system
stores it, and (on PostgreSQL, with ``--pg-dump``) ``pg_dump -Fc`` of the tables of records.
Times are medians; ours include the verification, which rebuilds the state in a scratch
database. Restores bring back all records after all were removed, and prove it; the best of
three, as of the COPY beside them. The rows of a backup (in the catalogue, its second manifest,
and the columns beside the contents of its chunks) are counted apart and along: what they take
hardly grows with the state, so they weigh on small ones. Everything is stored twice, and counted
twice, in the first backup as well as in the fifty.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from expresso_persist import Store
from expresso_persist.backups.catalog import Catalog
from expresso_persist.db.tables import (
    RECORD_TABLES,
    backup_chunks,
    backup_manifests,
    changes,
    data_backups,
)
from expresso_persist.model.records import Delete, Operation, Patch, Put, Record, StationQuantity

BACKUPS = 50
TRIES = 3


def timed(action: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def record(number: int, chance: random.Random) -> Record:
    """One quantity at a station."""
    value = {"name": f"Item {number}", "quantity": chance.randrange(1000) / 10, "unit": "l"}
    return StationQuantity.of(
        str(number % 10), f"category {number % 20}", f"item-{number}", data=value, position=number
    )


def measure(name: str, url: str, count: int, pg_dump: str | None) -> list[list[str]]:
    """Rows of the tables for one database and size."""
    chance = random.Random(1)
    with Store(url, migrate=True) as opened:
        store = opened.for_tenant(uuid.uuid4().hex)
        records = [record(number, chance) for number in range(count)]
        store.inventory.commit([Put(item) for item in records], actor="benchmark")
        stored, whole, dumped = [], [], []
        ours, theirs, dump_times = [], [], []
        for turn in range(BACKUPS):
            if turn:
                some = chance.sample(records, count // 100)
                operations: list[Operation] = [
                    Patch(item.key, {"quantity": chance.randrange(1000) / 10}) for item in some
                ]
                store.inventory.commit(operations, actor="benchmark")
            started = time.perf_counter()
            stored.append(store.backups.create("automatic").stored_bytes)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            whole.append(len(json.dumps(store.inventory.dump())))
            theirs.append(time.perf_counter() - started)
            if pg_dump and turn in (0, 1, BACKUPS - 1):
                started = time.perf_counter()
                dumped.append(dump_size(pg_dump, url))
                dump_times.append(time.perf_counter() - started)
        unchanged = statistics.median(
            timed(lambda: store.backups.create("automatic")) for _ in range(9)
        )
        row = row_bytes(store)
        bare = min(copy(store, count) for _ in range(TRIES))
        restore = min(restore_all(store, records) for _ in range(TRIES))
        return [
            [
                name,
                f"{count:,}",
                f"{stored[0]:,}",
                f"{sum(stored) / stored[0]:.2f}",
                f"{sum(whole) / sum(stored):.0f}",
                f"{statistics.mean(dumped) * BACKUPS / sum(stored):.0f}" if dumped else "-",
                f"{row[1] // BACKUPS:,}",
                f"{(sum(stored) + row[1]) / (stored[0] + row[0]):.2f}",
            ],
            [
                name,
                f"{count:,}",
                f"{statistics.median(ours) * 1e3:.0f} ms",
                f"{statistics.median(ours) / statistics.median(theirs):.1f}",
                f"{statistics.median(ours) / min(dump_times):.2f}" if dumped else "-",
                f"{unchanged * 1e3:.1f} ms",
                f"{restore / bare:.1f}",
            ],
        ]


def restore_all(store: Store, records: list[Record]) -> float:
    """Seconds of restoring the newest backup after everything was removed."""
    # Not a safety backup of the restore before, which holds nothing.
    newest = next(each for each in store.backups.list() if each.backup_type == "automatic")
    store.inventory.commit([Delete(item.key) for item in records], actor="benchmark")
    seconds = timed(lambda: store.backups.restore(newest.id, actor="benchmark"))
    assert len(store.inventory.records()) >= len(records), "it brought them back"
    return seconds


def row_bytes(store: Store) -> list[int]:
    """What the rows of the first backup take beside its contents, and those of all."""
    with store.database.read() as connection:

        def total(table: sa.Table, *but: str, first: bool = False) -> int:
            postgresql = store.database.dialect == "postgresql"
            # PostgreSQL compresses long texts.
            measure = sa.func.pg_column_size if postgresql else sa.func.length
            sizes = (sa.func.coalesce(measure(c), 0) for c in table.c if c.name not in but)
            size = sum(sizes, start=sa.literal(0))
            query = sa.select(sa.func.sum(size)).where(table.c.tenant_id == store.tenant)
            if first:
                query = query.where(table.c.id == store.backups.list()[-1].id)
            return int(connection.scalar(query) or 0)

        manifests = (data_backups, backup_manifests)
        chunks = total(backup_chunks, "data")
        count = connection.scalar(
            sa.select(sa.func.count())
            .select_from(backup_chunks)
            .where(backup_chunks.c.tenant_id == store.tenant)
        )
        first = store.backups.list()[-1].id
        used = len(Catalog(store.tenant).manifest(connection, first).chunk_ids)
        of_first = sum(total(table, first=True) for table in manifests)
        return [
            of_first + round(chunks / (count or 1) * 2 * used),
            sum(total(table) for table in manifests) + chunks,
        ]


def dump_size(pg_dump: str, url: str) -> int:
    """Bytes of a custom-format dump of the tables of records."""
    tables = [f"--table={table.name}" for table in RECORD_TABLES.values()]
    return len(
        subprocess.run([pg_dump, "-Fc", *tables, url], check=True, capture_output=True).stdout
    )


def copy(store: Store, count: int) -> float:
    """Seconds of inserting as many rows into the two tables that a restore writes."""
    target = uuid.uuid4().hex
    table = RECORD_TABLES["station_quantity"]
    contents = []
    with store.database.read() as connection:
        for source in (table, changes):
            query = sa.select(source).where(source.c.tenant_id == store.tenant).limit(count)
            found = connection.execute(query).mappings()
            contents.append([{**row, "tenant_id": target} for row in found])
    started = time.perf_counter()
    with store.database.write() as connection:
        for destination, rows in zip((table, changes), contents, strict=True):
            store.database.bulk_insert(connection, destination, rows, len(rows))
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", help="URL of an empty PostgreSQL database")
    parser.add_argument("--pg-dump", help="path of pg_dump, as new as the server")
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    arguments = parser.parse_args()
    urls = {"SQLite": f"sqlite:///{Path(tempfile.mkdtemp()) / 'benchmark.db'}"}
    if arguments.postgresql:
        urls["PostgreSQL"] = arguments.postgresql
    sizes = Table(
        "database", "records", "first, bytes", "50 / first", "whole JSON / ours",
        "pg_dump / ours", "rows of one, bytes", "50 / first, with rows",
    )  # fmt: skip
    times = Table(
        "database", "records", "one backup", "/ whole JSON", "/ pg_dump", "unchanged",
        "restore all / COPY",
    )  # fmt: skip
    for name, url in urls.items():
        for count in arguments.records:
            of_sizes, of_times = measure(
                name, url, count, arguments.pg_dump if name == "PostgreSQL" else None
            )
            sizes.add_row(*of_sizes)
            times.add_row(*of_times)
    Console(width=110).print(sizes, times)


if __name__ == "__main__":
    main()
