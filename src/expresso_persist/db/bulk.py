"""Rows written by what is quickest on each database, most of them many at once."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.driver_errors import driver_errors

__all__ = ["delete", "insert", "insert_if_absent", "update"]

_FEW = 8  # rows below which statements of their own are quicker than one for all
_MANY = 5_000  # rows per statement; each takes a copy of its parameters


def insert_if_absent(connection: Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Insert ``row`` unless its primary key is there; whether it was inserted."""
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table).values(**row).on_conflict_do_nothing()
    # Drivers disagree on the count of affected rows.
    result = connection.execute(insert.returning(*table.primary_key.columns))
    return result.first() is not None


def insert(
    connection: Connection,
    table: sa.Table,
    rows: Iterable[Mapping[str, Any]],
    count: int,
    *,
    copies: bool,
) -> None:
    """Insert ``count`` rows; every row has the same columns.

    PostgreSQL gets a COPY, which takes rows about ten times as fast as statements do,
    and works on those it has while ``rows`` makes more.
    """
    dialect = connection.dialect
    if not count:
        return
    if dialect.driver != "psycopg" or not copies or count < _FEW:
        connection.execute(sa.insert(table), list(rows))
        return
    rest = iter(rows)
    first = next(rest)
    columns = [table.c[name] for name in first]
    # Times are alike in all rows of a commit; the driver would write out each.
    times = [i for i, column in enumerate(columns) if column.type.python_type is dt.datetime]
    written: dict[dt.datetime | None, str | None] = {None: None}
    names = ", ".join(dialect.identifier_preparer.quote(column.name) for column in columns)
    target = dialect.identifier_preparer.format_table(table)
    with (
        driver_errors(connection) as raw,
        raw.cursor() as cursor,
        cursor.copy(f"COPY {target} ({names}) FROM STDIN") as copy,
    ):
        for row in itertools.chain([first], rest):
            values = list(row.values())
            for index in times:
                moment = values[index]
                if moment not in written:
                    written[moment] = moment.isoformat()
                values[index] = written[moment]
            copy.write_row(values)


def update(
    connection: Connection,
    table: sa.Table,
    tenant: str,
    rows: Sequence[Mapping[str, Any]],
    keep: Collection[str] = (),
) -> None:
    """Write rows over those with the same primary key; every row has the same columns.

    Args:
        connection: A write transaction.
        table: A table whose primary key begins with ``tenant_id``.
        tenant: Whose rows they are.
        rows: All columns of the primary key, and those to write.
        keep: Columns to leave as they are.
    """
    keys = table.primary_key.columns.keys()
    changed = [name for name in (rows[0] if rows else ()) if name not in (*keys, *keep)]
    for batch in _batches(rows):
        match, values, parameters = _given(connection, table, tenant, keys, changed, batch)
        statement = sa.update(table).where(*match).values(values)
        connection.execute(statement, parameters)


def delete(
    connection: Connection,
    table: sa.Table,
    tenant: str,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Remove rows by their primary key, of which ``rows`` have every column."""
    keys = table.primary_key.columns.keys()
    for batch in _batches(rows):
        match, _, parameters = _given(connection, table, tenant, keys, (), batch)
        connection.execute(sa.delete(table).where(*match), parameters)


def _given(
    connection: Connection,
    table: sa.Table,
    tenant: str,
    keys: Sequence[str],
    changed: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[sa.ColumnElement[bool]], dict[str, Any], Any]:
    """How a statement finds the rows it is about, what it writes, and its parameters.

    PostgreSQL gets one statement for all rows, with an array per column; a statement
    per row takes several times as long.
    """
    names = [*keys[1:], *changed]
    columns: dict[str, sa.ColumnElement[Any]]
    parameters: Any
    if connection.dialect.name == "postgresql" and len(rows) >= _FEW:
        arrays = [
            sa.bindparam(
                f"new_{name}", [row[name] for row in rows], type_=sa.ARRAY(table.c[name].type)
            )
            for name in names
        ]
        given = sa.func.unnest(*arrays).table_valued(*names, name="given").render_derived()
        columns, parameters = {name: given.c[name] for name in names}, {}
    else:
        columns = {name: sa.bindparam(f"new_{name}") for name in names}
        parameters = [{f"new_{name}": row[name] for name in names} for row in rows]
    match = [
        table.c.tenant_id == tenant,
        *(table.c[name] == columns[name] for name in keys[1:]),
    ]
    return match, {name: columns[name] for name in changed}, parameters


def _batches(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), _MANY):
        yield rows[start : start + _MANY]
