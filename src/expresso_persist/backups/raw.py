"""Reading rows that a failing disk may have changed.

SQLite keeps any bytes in a column of text, and PostgreSQL years that Python does not know;
their drivers refuse a row that holds such a value, and with it the whole answer. One damaged
backup must not hide the others, so backups are read as bytes and text; what is wrong with
them is found by their checksums.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.tables import UtcDateTime

__all__ = ["columns", "text", "time"]


def columns(
    connection: Connection, wanted: Iterable[sa.Column[Any]]
) -> list[sa.ColumnElement[Any]]:
    """Columns to select so that no value can make the answer unreadable."""
    sqlite = connection.dialect.name == "sqlite"
    return [_readable(column, sqlite=sqlite).label(column.name) for column in wanted]


def _readable(column: sa.Column[Any], *, sqlite: bool) -> sa.ColumnElement[Any]:
    is_time = isinstance(column.type, UtcDateTime)
    if sqlite and (is_time or isinstance(column.type, sa.Text)):
        return sa.cast(column, sa.LargeBinary)
    if is_time:
        utc = sa.func.timezone("UTC", column, type_=sa.DateTime())
        return sa.func.to_char(utc, "YYYY-MM-DD HH24:MI:SS.US", type_=sa.Text())
    return column  # PostgreSQL takes no other text than text


def text(value: str | bytes | None) -> str | None:
    """A value of a text column; what is no text is marked in it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def time(value: str | bytes | None) -> dt.datetime | None:
    """A value of a time column; None when it is no time."""
    if value is None:
        return None
    try:
        found = dt.datetime.fromisoformat(value if isinstance(value, str) else value.decode())
    except ValueError:
        return None
    return found.replace(tzinfo=dt.UTC)
