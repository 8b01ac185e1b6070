"""Reads the old tables, whatever their columns hold."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.adoption.conversion import Row
from expresso_persist.adoption.legacy import TABLES, LegacyTable, recognised
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.model import json_text

__all__ = ["OldTable", "find", "find_kept", "time_zone"]

_TIME = "YYYY-MM-DD HH24:MI:SS.US AD"


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
        """Its rows in the order of their ids, those without one too, whatever is in them."""
        cell = _sqlite_cell if connection.dialect.name == "sqlite" else _postgresql_cell
        query = (
            sa.select(
                # Names of their own: a column may be called as SQL functions are.
                *(
                    cell(sa.column(name), type_).label(f"cell_{place}")
                    for place, (name, type_) in enumerate(self.columns.items())
                )
            )
            .select_from(self._table)
            .order_by(*(sa.column(name) for name in self._order))
            # One old backup after the other: each can be large.
            .execution_options(stream_results=True, max_row_buffer=100)
        )
        for place, cells in enumerate(connection.execute(query), start=1):
            values = {
                name: self._value(name, cell)
                for name, cell in zip(self.columns, cells, strict=True)
            }
            label = values.get("id")
            yield Row(str(place) if label is None else str(label), values)

    @property
    def _order(self) -> list[str]:
        documents = {name for name, type_ in self.columns.items() if isinstance(type_, sa.JSON)}
        names = sorted(self.legacy.required - documents)
        return ["id", *names] if "id" in self.columns else names

    @property
    def _table(self) -> sa.TableClause:
        return sa.table(self.name, *map(sa.column, self.columns))

    def _value(self, name: str, cell: Any) -> Any:
        type_ = self.columns[name]
        if isinstance(cell, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                cell = cell.decode()
        if not isinstance(cell, str):
            return cell
        if isinstance(type_, sa.DateTime):
            return _time(cell)
        if isinstance(type_, sa.Numeric):
            with contextlib.suppress(ArithmeticError):
                return Decimal(cell)
        elif isinstance(type_, sa.JSON) and name in self.legacy.further(self.columns):
            with contextlib.suppress(ExpressoPersistError):
                # It will stand some levels below the surface of a record.
                deepest = json_text.MAX_DEPTH - 4
                return json_text.loads(cell, max_depth=deepest, reject_unstorable=True)
        return cell


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


def _sqlite_cell(column: sa.ColumnClause[Any], _type: object) -> sa.ColumnElement[Any]:
    """Text as bytes, because the driver refuses a row in which a text is none.

    Everything else as it is: written as text, a real number has 15 digits.
    """
    text = sa.func.typeof(column) == "text"
    cell = sa.case((text, sa.cast(column, sa.LargeBinary)), else_=column)
    return sa.type_coerce(cell, sa.types.NullType())


def _postgresql_cell(column: sa.ColumnClause[Any], type_: object) -> sa.ColumnElement[Any]:
    """Almost everything as text: the driver refuses infinite times and years before Christ."""
    if isinstance(type_, sa.DateTime):
        # A time without zone is one of the session's zone, which was the old server's.
        aware = sa.cast(column, sa.DateTime(timezone=True))
        finite = sa.func.to_char(sa.func.timezone("UTC", aware), _TIME)
        return sa.case((sa.func.isfinite(aware), finite), else_=sa.cast(column, sa.Text))
    if isinstance(type_, (sa.Boolean, sa.Integer)):
        return column
    return sa.cast(column, sa.Text)


def _time(text: str) -> dt.datetime | str:
    """A time in UTC, as SQLite's CURRENT_TIMESTAMP is too; the text where it is none."""
    try:
        moment = dt.datetime.fromisoformat(text.removesuffix(" AD"))
    except ValueError:
        return text
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
