"""What is stored, as seen from inside one transaction.

An import, an update or a restore reads through a :class:`State`. A commit decides under the
tenant's lock, so that nothing changes between the decision and the write.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import GENESIS
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, tenants
from expresso_persist.model.records import RECORD_TYPES, Head, Record, RecordKey

__all__ = ["HEAD", "State", "forgotten_through", "insert_tenant", "read_head", "record_row"]

_KEYS_PER_QUERY = 200


def read_head(connection: Connection, tenant: str) -> Head | None:
    """The tenant's epoch, revision and hash by primary key; None before its first use."""
    row = connection.execute(HEAD, {"tenant": tenant}).one_or_none()
    return Head(row.epoch, row.revision, row.head_hash) if row is not None else None


def forgotten_through(connection: Connection, tenant: str) -> int:
    """The last revision whose changes were forgotten; 0 when the history is whole."""
    query = sa.select(tenants.c.forgotten_through).where(tenants.c.tenant_id == tenant)
    return connection.scalar(query) or 0


def insert_tenant(
    database: Database, connection: Connection, tenant: str, created_at: dt.datetime | None = None
) -> None:
    """Add the row of a tenant, at revision 0 of a new epoch, unless there is one.

    Args:
        database: The database.
        connection: A write transaction of it.
        tenant: The tenant's name; the caller has checked it.
        created_at: When it is made; now when left out.
    """
    row = {
        "tenant_id": tenant,
        "revision": 0,
        "head_hash": GENESIS,
        "epoch": secrets.token_hex(8),
        "created_at": created_at or dt.datetime.now(dt.UTC),
    }
    database.insert_if_absent(connection, tenants, row)


HEAD = sa.select(tenants.c.epoch, tenants.c.revision, tenants.c.head_hash).where(
    tenants.c.tenant_id == sa.bindparam("tenant")
)


class State:
    """The records of one tenant inside one transaction; what was read is kept."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self.connection = connection
        self.tenant = tenant
        self._known: dict[str, dict[tuple[str, ...], Record | None]] = {
            kind: {} for kind in RECORD_TYPES
        }
        self._complete: set[str] = set()

    def get(self, kind: str, *parts: str) -> Record | None:
        """The record with this key, or None."""
        return self.at(RecordKey(kind, parts))

    def at(self, key: RecordKey) -> Record | None:
        """The record at ``key``, or None."""
        if key.parts not in self._known[key.kind] and key.kind not in self._complete:
            self.load([key])
        return self._known[key.kind].get(key.parts)

    def load(self, keys: Iterable[RecordKey]) -> None:
        """Read many records at once, for the :meth:`get` calls that follow."""
        wanted: dict[str, list[tuple[str, ...]]] = {}
        for kind, parts in keys:
            if kind not in self._complete and parts not in self._known[kind]:
                wanted.setdefault(kind, []).append(parts)
        for kind, missing in wanted.items():
            known, table = self._known[kind], RECORD_TABLES[kind]
            columns = [table.c[name] for name in RECORD_TYPES[kind].key_columns]
            for start in range(0, len(missing), _KEYS_PER_QUERY):
                batch = missing[start : start + _KEYS_PER_QUERY]
                condition = (
                    sa.and_(*(c == value for c, value in zip(columns, batch[0], strict=True)))
                    if len(batch) == 1
                    else sa.tuple_(*columns).in_(batch)
                )
                known.update(dict.fromkeys(batch))
                known.update((record.parts, record) for record in self._select(kind, condition))

    def all(self, kind: str) -> list[Record]:
        """All records of a kind, in no order."""
        known = self._known[kind]
        if kind not in self._complete:
            known.update((record.parts, record) for record in self._select(kind))
            self._complete.add(kind)
        return [record for record in known.values() if record is not None]

    def records(self, kind: str) -> list[Record]:
        """All records of a kind, by container and position."""
        return sorted(
            self.all(kind), key=lambda record: (record.parts[:-1], record.position, record.parts)
        )

    def find(self, kind: str, **columns: str) -> list[Record]:
        """Records of a kind by the values of their columns, in key order."""
        table = RECORD_TABLES[kind]
        found = self._select(
            kind, sa.and_(*(table.c[name] == value for name, value in columns.items()))
        )
        for record in found:
            self._known[kind].setdefault(record.parts, record)
        return sorted(found, key=lambda record: record.parts)

    def next_position(self, kind: str, **columns: str) -> int:
        """One past the last position among the records with these column values."""
        table = RECORD_TABLES[kind]
        condition = sa.and_(
            table.c.tenant_id == self.tenant,
            *(table.c[name] == value for name, value in columns.items()),
        )
        last = self.connection.scalar(sa.select(sa.func.max(table.c.position)).where(condition))
        return 0 if last is None else int(last) + 1

    def _select(self, kind: str, condition: sa.ColumnElement[bool] | None = None) -> list[Record]:
        table = RECORD_TABLES[kind]
        record_type = RECORD_TYPES[kind]
        keys = [table.c[name] for name in record_type.key_columns]
        query = sa.select(
            *keys,
            table.c.data,
            table.c.position,
            table.c.raw_text,
            table.c.revision,
            table.c.updated_at,
            table.c.updated_by,
        ).where(table.c.tenant_id == self.tenant)
        if condition is not None:
            query = query.where(condition)
        count = len(keys)
        return [
            record_type(
                tuple(row[:count]),
                row[count],
                row[count + 1],
                row[count + 2],
                row[count + 3],
                row[count + 4],
                row[count + 5],
            )
            for row in self.connection.execute(query)
        ]


def record_row(
    record: Record, tenant: str, revision: int, now: dt.datetime, actor: str
) -> Mapping[str, Any]:
    """The columns of a record's row."""
    return {
        "tenant_id": tenant,
        **dict(zip(record.key_columns, record.parts, strict=True)),
        **record.columns(),
        "data": record.text,
        "raw_text": record.raw,
        "position": record.position,
        "revision": revision,
        "created_at": now,
        "updated_at": now,
        "updated_by": actor,
    }
