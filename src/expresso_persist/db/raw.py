"""Reading rows that a failing disk may have changed.

SQLite keeps any bytes in a column of text, and PostgreSQL years that Python does not know;
their drivers refuse a row that holds such a value, and with it the whole answer. One damaged
row must not hide the others, so backups, and who works on them, are read as bytes and text;
what is wrong with backups is found by their checksums.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.tables import UtcDateTime

__all__ = ["columns", "integer", "mend_types", "name", "named", "text", "time"]


_NUMBER = re.compile("-?[0-9]{1,19}")


def columns(
    connection: Connection, wanted: Iterable[sa.Column[Any]]
) -> list[sa.ColumnElement[Any]]:
    """Columns to select so that no value can make the answer unreadable."""
    sqlite = connection.dialect.name == "sqlite"
    return [_readable(column, sqlite=sqlite).label(column.name) for column in wanted]


def _readable(column: sa.Column[Any], *, sqlite: bool) -> sa.ColumnElement[Any]:
    is_time = isinstance(column.type, UtcDateTime)
    if sqlite:  # numbers as well: any column may hold text, and not even that
        return sa.cast(column, sa.LargeBinary)
    if is_time:
        utc = sa.func.timezone("UTC", column, type_=sa.DateTime())
        return sa.func.to_char(utc, "YYYY-MM-DD HH24:MI:SS.US", type_=sa.Text())
    return column  # PostgreSQL takes no other values than those of the type


def mend_types(connection: Connection, table: sa.Table, tenant: str, *, dry_run: bool) -> int:
    """Make text of values in columns of text that SQLite took for bytes; say how many there are.

    SQLite never finds text equal to bytes, so no statement would find such a row by its key.
    """
    if connection.dialect.name != "sqlite":
        return 0
    count = 0
    for column in table.c:
        if isinstance(column.type, sa.Text) and column.name != "tenant_id":
            where = (table.c.tenant_id == tenant, sa.func.typeof(column) == "blob")
            wrong = sa.select(sa.func.count()).select_from(table).where(*where)
            if found := int(connection.scalar(wrong) or 0):
                count += found
                if not dry_run:
                    text = {column.name: sa.cast(column, sa.Text)}
                    # Its twin under the right key may have been written again meanwhile.
                    update = sa.update(table).prefix_with("OR REPLACE")
                    connection.execute(update.where(*where).values(text))
    return count


def integer(value: object) -> int | None:
    """A value of a column of whole numbers; None when it is none."""
    if isinstance(value, bytes):
        return int(value) if _NUMBER.fullmatch(value.decode("latin-1")) else None
    return int(value) if isinstance(value, int) else None


def text(value: str | bytes | None) -> str | None:
    """A value of a text column; what is no text is marked in it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def name(value: str | bytes | None) -> str:
    """A value of a text column that names a row; :func:`named` finds the row by it."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value or ""


def named(column: sa.Column[str], row: str) -> sa.ColumnElement[bool]:
    """The row that has this name, even if what is stored is no text (SQLite)."""
    try:
        row.encode()
    except UnicodeEncodeError:
        return sa.cast(column, sa.LargeBinary) == row.encode("utf-8", "surrogateescape")
    return column == row


def time(value: str | bytes | None) -> dt.datetime | None:
    """A value of a time column; None when it is no time."""
    if value is None:
        return None
    try:
        found = dt.datetime.fromisoformat(value if isinstance(value, str) else value.decode())
    except ValueError:
        return None
    return found.replace(tzinfo=dt.UTC)
