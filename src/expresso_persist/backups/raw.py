"""Reading rows that a failing disk may have changed.

SQLite keeps any bytes in a column of text and the driver refuses a row that holds what is no
text, and with it the whole answer. One damaged backup must not hide the others, so backups
are read as bytes; what is wrong with them is found by their checksums.
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
    if connection.dialect.name != "sqlite":
        return [*wanted]  # PostgreSQL takes nothing else than text and times
    return [
        sa.cast(column, sa.LargeBinary).label(column.name)
        if isinstance(column.type, (sa.Text, UtcDateTime))
        else column
        for column in wanted
    ]


def text(value: str | bytes | None) -> str | None:
    """A value of a text column; what is no text is marked in it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def time(value: dt.datetime | bytes | None) -> dt.datetime | None:
    """A value of a time column; None when it is no time."""
    if not isinstance(value, bytes):
        return value
    try:
        return dt.datetime.fromisoformat(value.decode()).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
