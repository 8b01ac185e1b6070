"""One flipped byte anywhere in what a backup is made of: found, refused, and nothing else.

Not meant are the columns that no restore depends on: ``stored_bytes``, ``notes``, ``pinned``,
``actor``, ``confirmed_at``, ``error``, when a chunk was made; and ``backup_status``,
``verified_at`` and ``verification``, which a verification writes anew. A backup whose
``id`` or ``tenant_id`` changed is not damaged, it is not there. They may not make others
unreadable either, see the last test.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from backed_up import contents, give_a_past
from expresso_persist import Store
from expresso_persist.backups.manifest import Manifest
from expresso_persist.errors import BackupCorrupted
from expresso_persist.tables import backup_chunks, data_backups

Row = dict[str, Any]
TABLES = (data_backups, backup_chunks)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

MEANT = [
    *[backup_chunks.c.data] * 6,
    *[data_backups.c.manifest] * 4,
    backup_chunks.c.sha256,
    backup_chunks.c.tenant_id,
    backup_chunks.c.size,
    backup_chunks.c.stored_size,
    *[backup_chunks.c.base_sha256] * 2,
    data_backups.c.backup_type,
    data_backups.c.created_at,
    data_backups.c.file_size_bytes,
    data_backups.c.payload_sha256,
    data_backups.c.record_counts,
    data_backups.c.revision,
]
NOT_MEANT = [
    data_backups.c.id,
    data_backups.c.backup_status,
    data_backups.c.confirmed_at,
    data_backups.c.verified_at,
    data_backups.c.verification,
    data_backups.c.stored_bytes,
    data_backups.c.notes,
    data_backups.c.actor,
    backup_chunks.c.created_at,
]


@attrs.define
class Disk:
    """Changes single bytes of the stored rows, and puts everything back before the next."""

    store: Store
    chance: random.Random
    rows: dict[str, list[Row]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        with self.store.database.read() as connection:
            self.rows = {
                table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
                for table in TABLES
            }

    def flip(self, column: sa.Column[Any]) -> tuple[Row, str]:
        """Flip a byte of the column in some row; tell the row as it was, and what was done."""
        table = column.table
        rows = self.rows[table.name]
        row = self.chance.choice([r for r in rows if r[column.name] not in (None, "")])
        key = [c == row[c.name] for c in table.primary_key]
        value = row[column.name]
        flipped = self._flipped(value)
        with self.store.database.write() as connection:
            self._put_back(connection)
            connection.execute(sa.update(table).where(*key).values({column: flipped}))
        told = f"{column}: {value!r:.2000} -> {getattr(flipped, 'told', flipped)!r:.2000}"
        return row, told

    def put_back(self) -> None:
        with self.store.database.write() as connection:
            self._put_back(connection)

    def _put_back(self, connection: sa.Connection) -> None:
        for table in TABLES:
            connection.execute(sa.delete(table))
            connection.execute(sa.insert(table), self.rows[table.name])

    def _flipped(self, value: Any) -> Any:
        sqlite = self.store.database.dialect == "sqlite"
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, int):
            return int.from_bytes(self._bytes(value.to_bytes(8, signed=True)), signed=True)
        if isinstance(value, dt.datetime) and not sqlite:
            # As PostgreSQL stores it; what is beyond the year 9999 has a test of its own.
            stored = (value - EPOCH) // dt.timedelta(microseconds=1)
            low = int.from_bytes(self._bytes(stored.to_bytes(8)[2:]))
            return EPOCH + dt.timedelta(microseconds=low)
        if isinstance(value, dt.datetime):
            day, time = f"{value:%Y-%m-%d}", f"{value:%H:%M:%S.%f}"
            # Whatever stands between day and time, it is the same time.
            if self.chance.random() < 0.5:
                day = self._bytes(day.encode()).decode("latin-1")
            else:
                time = self._bytes(time.encode()).decode("latin-1")
            return _text(f"{day} {time}".encode("latin-1"))
        data = value.encode()
        if sqlite:
            return _text(self._bytes(data))
        place = self.chance.randrange(len(data))  # PostgreSQL takes no broken text
        other = self.chance.choice([b for b in range(1, 128) if b != data[place]])
        return (data[:place] + bytes([other]) + data[place + 1 :]).decode()

    def _bytes(self, data: bytes) -> bytes:
        place = self.chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ self.chance.randint(1, 255)]) + data[place + 1 :]


def _text(data: bytes) -> Any:
    """Bytes that SQLite takes for text, whether or not they are."""
    text = sa.cast(sa.literal(data, sa.LargeBinary), sa.Text)
    text.told = data  # type: ignore[attr-defined]
    return text


def users_of_chunks(disk: Disk) -> dict[str, set[str]]:
    """Which backups need each chunk, itself or as a base of another."""
    bases = {row["sha256"]: row["base_sha256"] for row in disk.rows["backup_chunks"]}
    users: dict[str, set[str]] = {}
    for row in disk.rows["data_backups"]:
        for name in Manifest.decode(row["manifest"]).chunk_ids:
            chunk: str | None = name
            while chunk is not None:
                users.setdefault(chunk, set()).add(row["id"])
                chunk = bases[chunk]
    return users


@pytest.fixture
def disk(store: Store) -> Disk:
    give_a_past(store)
    for kind in ("automatic", "automatic", "manual"):  # the second confirms the first
        store.backups.create(kind, notes="by hand")
    return Disk(store, random.Random(11))


def test_any_flipped_byte_is_found_and_never_restored(store: Store, disk: Disk) -> None:
    count = 2000 if store.database.dialect == "sqlite" else 200
    users = users_of_chunks(disk)
    assert users.keys() == {row["sha256"] for row in disk.rows["backup_chunks"]}
    assert any(row["base_sha256"] for row in disk.rows["backup_chunks"])
    everything = {row["id"] for row in disk.rows["data_backups"]}
    before = store.inventory.head(), contents(store)
    for number in range(count):
        column = disk.chance.choice(MEANT)
        row, told = disk.flip(column)
        affected = users[row["sha256"]] if column.table is backup_chunks else {row["id"]}
        backup_id = disk.chance.choice(sorted(affected))
        try:
            with pytest.raises(BackupCorrupted):
                store.backups.restore(backup_id, actor="test")
            result = store.backups.verify(backup_id)
            assert not result.ok
            assert result.problems
            found = store.backups.get(backup_id)
            assert (found.backup_status, found.verified_at) == ("failed", None)
            assert {backup.id for backup in store.backups.list()} == everything
            assert store.inventory.head() == before[0]
            if number % 50 == 0:
                store.backups.rotate(dry_run=True)
                store.backups.status()
                for other in everything - affected:
                    assert store.backups.verify(other).ok
        except BaseException as error:
            error.add_note(f"flip {number}, {told}")
            raise
    disk.put_back()
    assert contents(store) == before[1]
    assert all(store.backups.verify(backup_id).ok for backup_id in everything)


def test_a_flipped_byte_that_means_nothing_hides_no_backup(store: Store, disk: Disk) -> None:
    """What only describes a backup may be wrong; the backups are listed, checked, rotated."""
    ids = [row["id"] for row in disk.rows["data_backups"]]
    for column in NOT_MEANT * 4:
        row, told = disk.flip(column)
        try:
            renamed = column is data_backups.c.id
            for backup_id in ids:
                if not (renamed and row["id"] == backup_id):
                    assert store.backups.plan_restore(backup_id).backup.id == backup_id
            assert len(store.backups.list()) == len(ids)
            assert len(store.backups.rotate(dry_run=True)) == len(ids)
            store.backups.status()
        except BaseException as error:
            error.add_note(told)
            raise
    disk.put_back()
    assert all(store.backups.verify(backup_id).ok for backup_id in ids)


@pytest.mark.postgresql
@pytest.mark.parametrize("year", ["20000-01-01 00:00Z", "0044-03-15 00:00Z BC", "infinity"])
def test_a_year_that_python_does_not_know_hides_no_backup(postgresql_url: str, year: str) -> None:
    """PostgreSQL's years are more, and a flipped bit leads there."""
    with Store(postgresql_url, migrate=True) as store:
        give_a_past(store)
        damaged, *others = store.backups.list()
        with store.database.write() as connection:
            sql = "UPDATE data_backups SET created_at = CAST(:year AS timestamptz) WHERE id = :id"
            connection.execute(sa.text(sql), {"year": year, "id": damaged.id})
        assert len(store.backups.list()) == len(others) + 1
        assert not store.backups.verify(damaged.id).ok
        with pytest.raises(BackupCorrupted):
            store.backups.restore(damaged.id, actor="test")
        assert all(store.backups.verify(backup.id).ok for backup in others)
        store.backups.status()
