"""The tables. Names and columns are a contract (the seed's); see docs/architecture.md.

Every primary key and unique constraint starts with ``tenant_id``, and no statement reads
or writes two tenants, so that a distributed PostgreSQL can shard by tenant as it is.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from expresso_persist.model.records import RECORD_TYPES

__all__ = [
    "RECORD_TABLES",
    "UtcDateTime",
    "access_tokens",
    "backup_checks",
    "backup_chunks",
    "backup_manifests",
    "changes",
    "commits",
    "data_backups",
    "idempotency_keys",
    "leases",
    "metadata",
    "rate_counters",
    "tenants",
]

metadata: MetaData = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A timezone-aware UTC time on both databases."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = DateTime(timezone=True)
    cache_ok: bool | None = True

    @property
    def python_type(self) -> type[dt.datetime]:
        """What its values are; older SQLAlchemy does not ask ``impl``."""
        return dt.datetime

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Convert to UTC; SQLite stores the naive UTC text."""
        if value is None:
            return None
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Give back an aware UTC time."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=dt.UTC)  # type: ignore[no-any-return]
        return value.astimezone(dt.UTC)  # type: ignore[no-any-return]


def _key(name: str) -> Column[Any]:
    return Column(name, Text, primary_key=True)


def _business(name: str, keys: tuple[str, ...], *columns: Column[Any]) -> Table:
    """A table of records: its key, its projections, and what every record has."""
    return Table(
        name,
        metadata,
        _key("tenant_id"),
        *(_key(key) for key in keys),
        *columns,
        # JSON text, not jsonb: the order of members is what the front end shows.
        Column("data", Text, nullable=False),
        Column("raw_text", Text),
        Column("position", Integer, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        Column("updated_by", Text, nullable=False),
    )


# Quantities are doubles: exactly what a JavaScript number is, so 0.125 kg stays 0.125.
_business(
    "event_inventory",
    ("category", "item_id"),
    Column("item_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
)
_business(
    "event_stock_levels",
    ("category", "item_id"),
    Column("item_name", Text, nullable=False),
    Column("total_quantity", Double),
    Column("allocated_quantity", Double),
    Column("available_quantity", Double),
    Column("unit", Text),
    Column("low_stock_threshold", Double),
)
_business(
    "station_inventory_configs",
    ("station_id",),
    Column("station_name", Text),
    Column("config_data", Text, nullable=False),
)
_business(
    "station_inventory_quantities",
    ("station_id", "category", "item_id"),
    Column("item_name", Text, nullable=False),
    Column("quantity", Double),
    Column("allocated_from_stock", Double),
)
_business(
    "station_stock",
    ("station_id", "category", "item_id"),
    Column("item_name", Text, nullable=False),
    Column("amount", Double),
    Column("capacity", Double),
    Column("unit", Text),
    Column("low_threshold", Double),
    Column("critical_threshold", Double),
    Column("status", Text),
)
_business(
    "system_settings",
    ("setting_key",),
    Column("setting_value", Text, nullable=False),
    Column("setting_type", Text, nullable=False),
    Column("description", Text),
)
_business("stored_documents", ("document_key", "device_id"))
_business("document_layouts", ("document_key",), Column("layout", Text, nullable=False))
_business(
    "quarantined_values",
    ("id",),
    Column("document_key", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

RECORD_TABLES = {kind: metadata.tables[cls.table] for kind, cls in RECORD_TYPES.items()}

tenants: Table = Table(
    "tenants",
    metadata,
    _key("tenant_id"),
    Column("revision", BigInteger, nullable=False),
    Column("head_hash", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Up to here, old changes were dropped on purpose; what stayed is in a commit's digest.
    Column("forgotten_through", BigInteger, nullable=False, server_default="0"),
)

commits: Table = Table(
    "commits",
    metadata,
    Column("tenant_id", Text, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("request_fingerprint", Text),
    Column("receipt", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("tenant_id", "actor", "idempotency_key"),
)

# No foreign key to commits: both are written by one statement block under the tenant's
# lock, and a check per row would cost an import as much as writing the rows does.
changes: Table = Table(
    "changes",
    metadata,
    _key("tenant_id"),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("record_key", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
)
Index(None, changes.c.tenant_id, changes.c.kind, changes.c.record_key, changes.c.revision)

data_backups: Table = Table(
    "data_backups",
    metadata,
    Column("tenant_id", Text, ForeignKey("tenants.tenant_id"), primary_key=True),
    _key("id"),
    Column("backup_type", Text, nullable=False),
    Column("backup_status", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("confirmed_at", UtcDateTime),
    Column("verified_at", UtcDateTime),
    Column("verification", Text),
    Column("file_size_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("payload_sha256", Text, nullable=False),
    Column("record_counts", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("error", Text),
)
Index(None, data_backups.c.tenant_id, data_backups.c.created_at)

# Each chunk has two rows that do not depend on each other: copy 0 and copy 1.
backup_chunks: Table = Table(
    "backup_chunks",
    metadata,
    _key("tenant_id"),
    _key("sha256"),
    Column("copy", SmallInteger, primary_key=True, autoincrement=False),
    Column("base_sha256", Text),
    # Null in rows of version 0.1.0, until they are first checked.
    Column("stored_sha256", LargeBinary),
    Column("data", LargeBinary, nullable=False),
)

# The second copy of what `data_backups.manifest` holds.
backup_manifests: Table = Table(
    "backup_manifests",
    metadata,
    _key("tenant_id"),
    _key("id"),
    Column("manifest", Text, nullable=False),
)

# What the last check of the stored backups found; one row.
backup_checks: Table = Table(
    "backup_checks",
    metadata,
    _key("tenant_id"),
    Column("checked_at", UtcDateTime, nullable=False),
    # When damage was last found, and what was: a JSON list of sentences.
    Column("found_at", UtcDateTime),
    Column("findings", Text, nullable=False),
)

backup_mirrors: Table = Table(
    "backup_mirrors",
    metadata,
    _key("tenant_id"),
    _key("mirror"),
    # The newest verified backup when the mirror was last complete.
    Column("newest_id", Text),
    Column("newest_at", UtcDateTime),
    Column("copies", Integer, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("checked_at", UtcDateTime),
    Column("failures", Integer, nullable=False),
    Column("error", Text),
    Column("next_at", UtcDateTime, nullable=False),
)

leases: Table = Table(
    "leases",
    metadata,
    _key("tenant_id"),
    _key("name"),
    Column("holder", Text, nullable=False),
    Column("acquired_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

idempotency_keys: Table = Table(
    "idempotency_keys",
    metadata,
    _key("tenant_id"),
    _key("actor"),
    _key("idempotency_key"),
    Column("request_fingerprint", Text),
    # What the request made or was about, such as a backup; empty where there is no such thing.
    Column("subject", Text, nullable=False),
    Column("answer", Text),
    Column("created_at", UtcDateTime, nullable=False),
)

access_tokens: Table = Table(
    "access_tokens",
    metadata,
    _key("tenant_id"),
    _key("id"),
    Column("name", Text, nullable=False),
    Column("permission", Text, nullable=False),
    # Only the hash: who reads the database, or a copy of it, cannot use the token.
    Column("secret_sha256", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    UniqueConstraint("tenant_id", "name"),
)

rate_counters: Table = Table(
    "rate_counters",
    metadata,
    _key("tenant_id"),
    _key("name"),
    # Which period since 1970 the hits belong to.
    Column("slot", BigInteger, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("previous", Integer, nullable=False),
)
