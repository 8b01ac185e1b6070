"""Rows of the host application's own tables, for the backup: read only, bounded, masked.

Which columns a host table has is looked up each time, because the host changes its tables
without asking. A table that is missing or cannot be read is reported in the manifest and
never stops the backup of what is ours.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from expresso_persist.backups.manifest import HOST_PREFIX, Line, SectionData
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.model.json_text import Json, dumps

__all__ = ["MASK", "HostTable", "HostTables"]

MASK = "***"
"""What stands in place of a masked value."""


@attrs.frozen
class HostTable:
    """One table of the host, and how much of it a backup takes.

    Attributes:
        name: The table.
        days: Take only rows whose ``time_column`` is this recent; ``None`` takes all.
        time_column: Column that says when a row was made; it should have an index.
        limit: At most this many rows, the newest ones.
        omit: Columns that are left out.
        mask: Columns whose values are replaced by ``***``, such as ``phone``. A path such
            as ``order_details.phone`` masks one member of a JSON column.
        tenant_column: Column that tells tenants apart. A table that does not have it
            belongs to the tenant ``"default"`` alone.
    """

    name: str
    days: float | None = None
    time_column: str = "created_at"
    limit: int | None = None
    omit: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    mask: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    tenant_column: str = "tenant_id"

    @property
    def section(self) -> str:
        """Name of the table's section in a backup."""
        return f"{HOST_PREFIX}{self.name}"


@attrs.frozen
class HostTables:
    """The host's tables that backups take along.

    The default is all of ``stations`` and the ``orders`` of the last 7 days, at most 1,000.
    """

    tables: tuple[HostTable, ...] = attrs.field(
        default=(HostTable("stations"), HostTable("orders", days=7, limit=1000)),
        converter=tuple,
    )

    def __attrs_post_init__(self) -> None:
        names = [table.name for table in self.tables]
        if len(set(names)) != len(names):
            raise InvalidConfiguration("HostTables names a table twice; name each once.")

    def read(self, connection: Connection, tenant: str, now: dt.datetime) -> list[SectionData]:
        """Read all of them inside a read transaction."""
        return [_read(connection, table, tenant, now) for table in self.tables]


def _read(connection: Connection, table: HostTable, tenant: str, now: dt.datetime) -> SectionData:
    try:
        # A savepoint, because on PostgreSQL a refused statement ends the transaction.
        with connection.begin_nested():
            return _read_rows(connection, table, tenant, now)
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        return SectionData(
            table.section,
            state="unreadable",
            note="The table is there, but the database refused to read it.",
        )


def _read_rows(
    connection: Connection, table: HostTable, tenant: str, now: dt.datetime
) -> SectionData:
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name):
        return SectionData(table.section, state="absent")
    reflected = {
        str(column["name"]): column["type"] for column in inspector.get_columns(table.name)
    }
    keys = [
        name
        for name in inspector.get_pk_constraint(table.name)["constrained_columns"]
        if name in reflected and name not in table.omit
    ]
    names = [name for name in reflected if name not in table.omit]
    select, notes = _select(connection, table, tenant, now, reflected, names, keys)
    if select is None:
        return SectionData(table.section, state="absent", note="; ".join(notes))
    rows = connection.execute(select).all()
    if table.limit is not None and len(rows) == table.limit:
        notes.append(f"stopped at the limit of {table.limit} rows")
    lines = sorted(
        _lines(names, keys, rows, table), key=lambda line: (_natural(line.key), line.data)
    )
    return SectionData(table.section, tuple(lines), note="; ".join(notes))


def _select(
    connection: Connection,
    table: HostTable,
    tenant: str,
    now: dt.datetime,
    reflected: dict[str, Any],
    names: Sequence[str],
    keys: Sequence[str],
) -> tuple[sa.Select[Any] | None, list[str]]:
    # Columns are selected without their types: SQLite tables hold what they like in a
    # column that calls itself a date, and a converter would fail on it.
    source = sa.table(table.name, *(sa.column(name) for name in reflected))
    select = sa.select(*(source.c[name] for name in names))
    notes: list[str] = []
    if table.tenant_column in reflected:
        select = select.where(source.c[table.tenant_column] == tenant)
    elif tenant != "default":
        return None, ["the table does not tell tenants apart"]
    newest_first: list[sa.ColumnElement[Any]] = []
    if table.time_column in reflected:
        newest_first.append(source.c[table.time_column].desc())
        if table.days is not None:
            since = now - dt.timedelta(days=table.days)
            select = select.where(
                source.c[table.time_column] >= _since(connection, reflected, table, since)
            )
    elif table.days is not None:
        notes.append(f"it has no column {table.time_column}, so rows of any age were taken")
    if table.limit is not None:
        newest_first += [source.c[name].desc() for name in keys]
        select = select.order_by(*newest_first).limit(table.limit)
    return select, notes


def _since(
    connection: Connection, reflected: dict[str, Any], table: HostTable, since: dt.datetime
) -> Any:
    if connection.dialect.name == "sqlite":
        # Text; the day alone sorts before both "2026-01-31 10:00" and "2026-01-31T10:00".
        return f"{since:%Y-%m-%d}"
    column_type = reflected[table.time_column]
    if getattr(column_type, "timezone", False):
        return since
    # Without a time zone it is the local time of some server; a day more covers them all.
    return sa.literal((since - dt.timedelta(days=1)).replace(tzinfo=None), sa.DateTime())


def _lines(
    names: Sequence[str], keys: Sequence[str], rows: Sequence[sa.Row[Any]], table: HostTable
) -> Iterator[Line]:
    columns = {path for path in table.mask if "." not in path}
    members = [path.split(".") for path in table.mask if "." in path]
    for row in rows:
        values = {
            name: MASK if name in columns and value is not None else _json(value)
            for name, value in zip(names, row, strict=True)
        }
        for column, *path in members:
            if values.get(column) is not None:
                values[column] = _masked(values[column], path)
        data = dumps(values).encode("utf-8", "backslashreplace") + b"\n"
        key = "\0".join(str(values[name]) for name in keys) if keys else data.decode()
        yield Line(key.encode(), data)


def _natural(key: bytes) -> tuple[int, bytes]:
    """Sort 9 before 10, so that new rows come last and older chunks stay as they are."""
    return (len(key) if key.isdigit() else 0, key)


def _json(value: Any) -> Json:
    """A value of any column type as JSON; what JSON does not have becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): _json(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(member) for member in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return str(value)


def _masked(value: Json, path: Sequence[str]) -> Json:
    """Mask one member; what cannot be looked into is masked whole."""
    if not path:
        return MASK
    if isinstance(value, dict):
        name, *rest = path
        return {
            key: _masked(member, rest) if key == name and member is not None else member
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_masked(member, path) for member in value]
    if isinstance(value, str):  # a JSON column of SQLite, or JSON in a text column
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return MASK
        if isinstance(inner, (dict, list)):
            return dumps(_masked(inner, path))
    return MASK
