"""Damages single rows of what backups are stored in, as a failing disk would."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import attrs
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import (
    backup_checks,
    backup_chunks,
    backup_manifests,
    backup_mirrors,
    data_backups,
    leases,
)

Row = dict[str, Any]
TABLES = (data_backups, backup_chunks, backup_manifests, backup_mirrors, backup_checks, leases)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
RAW = "typeof"  # SQLite keeps any type in any column


@attrs.define
class Disk:
    """Damages and removes rows, and puts everything back before the next."""

    store: Store
    chance: random.Random
    rows: dict[str, list[Row]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        with self.store.database.read() as connection:
            self.rows = {
                table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
                for table in TABLES
            }

    def every(self) -> list[tuple[sa.Table, Row]]:
        """Every row there is."""
        return [(table, row) for table in TABLES for row in self.rows[table.name]]

    def put_back(self) -> None:
        """Make all rows what they were."""
        with self.store.database.write() as connection:
            for table in TABLES:
                connection.execute(sa.delete(table))
                if self.rows[table.name]:
                    connection.execute(sa.insert(table), self.rows[table.name])

    def remove(self, table: sa.Table, row: Row) -> str:
        """Remove a row; tell what was done."""
        with self.store.database.write() as connection:
            connection.execute(sa.delete(table).where(*self._key(table, row)))
        return f"{table.name}: removed"

    def damage(self, table: sa.Table, row: Row, column: sa.Column[Any]) -> str:
        """Change a value of a row; tell what was done."""
        flipped = self._flipped(column, row[column.name])
        with self.store.database.write() as connection:
            key = self._key(table, row)
            connection.execute(sa.update(table).where(*key).values({column: flipped}))
        told = getattr(flipped, "told", flipped)
        return f"{column}: {row[column.name]!r:.300} -> {told!r:.300}"

    def _key(self, table: sa.Table, row: Row) -> list[sa.ColumnElement[bool]]:
        return [column == row[column.name] for column in table.primary_key]

    def _flipped(self, column: sa.Column[Any], value: Any) -> Any:
        sqlite = self.store.database.dialect == "sqlite"
        if sqlite and self.chance.random() < 0.25:
            return self._other_type(column, value)
        if value is None:
            return self._instead(column)
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            if isinstance(column.type, sa.SmallInteger):
                return value ^ (1 << self.chance.randrange(1, 15))  # not into its twin
            size = 4 if type(column.type) is sa.Integer else 8
            flipped = self._bytes(value.to_bytes(size, signed=True))
            return int.from_bytes(flipped, signed=True)
        if isinstance(value, dt.datetime):
            return self._time(value, sqlite=sqlite)
        data = value.encode()
        if not data:
            return "x"
        if sqlite:
            return _cast(self._bytes(data), sa.Text)
        place = self.chance.randrange(len(data))  # PostgreSQL takes no broken text
        other = self.chance.choice([b for b in range(1, 128) if b != data[place]])
        return (data[:place] + bytes([other]) + data[place + 1 :]).decode("utf-8", "replace")

    def _instead(self, column: sa.Column[Any]) -> Any:
        if isinstance(column.type, sa.LargeBinary):
            return b"\0"
        if isinstance(column.type, sa.Text):
            return "x"
        return EPOCH + dt.timedelta(days=self.chance.randrange(40_000))

    def _other_type(self, column: sa.Column[Any], value: Any) -> Any:
        """Text where bytes or a number are expected, and bytes where text is."""
        if isinstance(column.type, sa.Text):
            return _cast((value or "").encode() + b"\xff", sa.LargeBinary)
        if isinstance(column.type, sa.LargeBinary):
            return _cast(b"text", sa.Text)
        return _cast(b"rubbish \xff", sa.Text)

    def _time(self, value: dt.datetime, *, sqlite: bool) -> Any:
        if not sqlite and self.chance.random() < 0.3:
            years = ["infinity", "20000-01-01 00:00Z", "0044-03-15 00:00Z BC"]
            return sa.text(f"CAST('{self.chance.choice(years)}' AS timestamptz)")
        if not sqlite:
            stored = (value - EPOCH) // dt.timedelta(microseconds=1)
            low = int.from_bytes(self._bytes(stored.to_bytes(8)[2:]))
            return EPOCH + dt.timedelta(microseconds=low)
        text = f"{value:%Y-%m-%d %H:%M:%S.%f}".encode()
        return _cast(self._bytes(text), sa.Text)

    def _bytes(self, data: bytes) -> bytes:
        if not data:
            return b"\1"
        place = self.chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ self.chance.randint(1, 255)]) + data[place + 1 :]


def _cast(data: bytes, kind: Any) -> Any:
    """Bytes that SQLite takes for a value of another type."""
    value = sa.cast(sa.literal(data, sa.LargeBinary), kind)
    value.told = data  # type: ignore[attr-defined]
    return value
