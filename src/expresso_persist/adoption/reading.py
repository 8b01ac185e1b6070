"""Reads the old tables, whatever their columns hold."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.adoption.conversion import Row
from expresso_persist.adoption.legacy import TABLES, LegacyTable, recognised

__all__ = ["OldTable", "find", "find_kept", "time_zone"]


@attrs.frozen
class OldTable:
    """One old table as it is in a database.

    Attributes:
        legacy: Which one it is.
        name: What it is called at the moment.
        columns: Its columns with their types.
    """

    legacy: LegacyTable
    name: str
    columns: Mapping[str, sa.types.TypeEngine[Any]]

    def count(self, connection: Connection) -> int:
        """How many rows it has."""
        return connection.scalar(sa.select(sa.func.count()).select_from(self._table)) or 0

    def rows(self, connection: Connection) -> Iterator[Row]:
        """Its rows in the order of their ids, one by one where there are ids."""
        with _every_text(connection):
            if "id" not in self.columns:
                found = connection.execute(self._select()).mappings().all()
                for place, values in enumerate(found, 1):
                    yield self._row(str(place), values)
                return
            key: sa.ColumnClause[Any] = sa.column("id")
            ids = connection.execute(sa.select(key).select_from(self._table).order_by(key))
            for chunk in ids.scalars().partitions(1 if self._large else 1_000):
                query = self._select().where(key.in_(chunk)).order_by(key)
                for values in connection.execute(query).mappings().all():
                    yield self._row(str(values["id"]), values)

    @property
    def _large(self) -> bool:
        return self.legacy.name == "data_backups"

    @property
    def _table(self) -> sa.TableClause:
        return sa.table(self.name, *map(sa.column, self.columns))

    def _select(self) -> sa.Select[Any]:
        return sa.select(
            *(_readable(name, type_) for name, type_ in self.columns.items())
        ).select_from(self._table)

    def _row(self, label: str, values: Mapping[Any, Any]) -> Row:
        return Row(label, {name: self._value(name, values[name]) for name in self.columns})

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and isinstance(self.columns[name], sa.DateTime):
            # SQLite keeps times as text, and its CURRENT_TIMESTAMP is UTC.
            with contextlib.suppress(ValueError):
                moment = dt.datetime.fromisoformat(value)
                return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        if value is None or isinstance(value, (str, int, float, dt.datetime, bytes)):
            return value
        return str(value) if isinstance(value, (dt.date, dt.time, dt.timedelta)) else value


def find(connection: Connection) -> list[OldTable]:
    """The old tables of a database, under their old names."""
    return _find(connection, "")


def find_kept(connection: Connection) -> list[OldTable]:
    """The old tables that an adoption kept."""
    return _find(connection, "legacy_")


def time_zone(connection: Connection) -> str:
    """The zone in which the old tables' times are."""
    if connection.dialect.name == "sqlite":
        return "UTC"
    return str(connection.scalar(sa.text("SELECT current_setting('TimeZone')")))


def _find(connection: Connection, prefix: str) -> list[OldTable]:
    inspector = sa.inspect(connection)
    present = {*inspector.get_table_names()}
    columns = {
        name: {each["name"]: each["type"] for each in inspector.get_columns(prefix + name)}
        for name in TABLES
        if prefix + name in present
    }
    return [
        OldTable(legacy, prefix + legacy.name, columns[legacy.name])
        for legacy in recognised(columns)
    ]


def _readable(name: str, type_: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """A column as it is read: text as text, and times with their zone."""
    column: sa.ColumnClause[Any] = sa.column(name)
    if isinstance(type_, sa.JSON):
        return sa.cast(column, sa.Text).label(name)
    if isinstance(type_, sa.TIMESTAMP) and not type_.timezone:
        return sa.func.timezone(sa.func.current_setting("TimeZone"), column).label(name)
    return column


@contextlib.contextmanager
def _every_text(connection: Connection) -> Iterator[None]:
    """Let SQLite give bytes where a text is none, instead of failing."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    before, driver.text_factory = driver.text_factory, _text_or_bytes
    try:
        yield
    finally:
        driver.text_factory = before


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
