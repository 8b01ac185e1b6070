"""Rows of ``data_backups``: what is known about each backup without opening it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Self

import attrs
import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups import raw
from expresso_persist.backups.manifest import IMPORTED, Manifest, new_id
from expresso_persist.errors import BackupNotFound
from expresso_persist.jsontext import Json, check_storable
from expresso_persist.tables import data_backups

__all__ = ["Backup", "Catalog", "iso"]


def iso(time: dt.datetime | None) -> str | None:
    """ISO 8601 in UTC with a ``Z``, as every time in the library's JSON."""
    if time is None:
        return None
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@attrs.frozen
class Backup:
    """A backup without its payload.

    Attributes:
        id: Its unguessable name.
        backup_type: ``automatic``, ``manual``, ``safety`` (made before a restore),
            ``preimport`` (made before an import) or ``imported`` (from an archive).
        backup_status: ``completed``, or ``failed`` with the reason in ``error``.
        revision: The tenant's revision it shows.
        created_at: When it was stored, by the database's clock.
        confirmed_at: When the state was last found to be still the same; for a failure,
            when it was last repeated.
        verified_at: When it was last read back and rebuilt with the right result.
        verification: What that check covered, or what it found wrong.
        file_size_bytes: Size of the state before compression.
        stored_bytes: What it added to the database; parts shared with others cost nothing.
        payload_sha256: Checksum of the state; equal states have equal ones.
        record_counts: Records per kind and rows per host table (or ``absent``).
        notes: Free text.
        pinned: True: rotation leaves it alone.
        actor: Who asked for it.
        error: Why it failed.
    """

    id: str
    backup_type: str
    backup_status: str
    revision: int
    created_at: dt.datetime
    confirmed_at: dt.datetime | None = None
    verified_at: dt.datetime | None = None
    verification: str | None = None
    file_size_bytes: int = 0
    stored_bytes: int = 0
    payload_sha256: str = ""
    record_counts: dict[str, int | str] = attrs.field(factory=dict)
    notes: str = ""
    pinned: bool = False
    actor: str = "system"
    error: str | None = None

    @classmethod
    def of(cls, manifest: Manifest, stored_bytes: int) -> Self:
        """The row of a backup that has just been stored and is not verified yet."""
        return cls(
            id=manifest.id,
            backup_type=manifest.backup_type,
            backup_status="completed",
            revision=manifest.revision,
            created_at=manifest.created_at,
            file_size_bytes=manifest.size,
            stored_bytes=stored_bytes,
            payload_sha256=manifest.payload_sha256,
            record_counts=manifest.record_counts,
            notes=manifest.notes,
            actor=manifest.actor,
        )

    @property
    def seen_at(self) -> dt.datetime:
        """When the state was last known to be this one."""
        return max(self.created_at, self.confirmed_at or self.created_at)

    def to_json(self) -> dict[str, Json]:
        """The metadata as a JSON object; the payload is never part of it."""
        value: dict[str, Any] = attrs.asdict(self)
        for name in ("created_at", "confirmed_at", "verified_at"):
            value[name] = iso(value[name])
        return value


_COLUMNS: tuple[sa.Column[Any], ...] = tuple(
    data_backups.c[field.name] for field in attrs.fields(Backup)
)


_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_counts = msgspec.json.Decoder(dict[str, int | str])


def _backup(row: sa.Row[Any]) -> Backup:
    """What can be read of a row; the rest does not fit the manifest, as a check will find."""
    values = dict(row._mapping)  # noqa: SLF001 - its public name
    for name in ("created_at", "confirmed_at", "verified_at"):
        values[name] = raw.time(values[name])
    values = {name: raw.text(v) if isinstance(v, bytes) else v for name, v in values.items()}
    try:
        values["record_counts"] = _counts.decode(values["record_counts"])
    except msgspec.MsgspecError:
        values["record_counts"] = {}
    return Backup(**{**values, "created_at": values["created_at"] or _LONG_AGO})


@attrs.frozen
class Catalog:
    """The backups of one tenant, as rows."""

    tenant: str

    def all(self, connection: Connection) -> list[Backup]:
        """Every backup, newest first."""
        return [_backup(row) for row in connection.execute(self._newest_first(connection))]

    def get(self, connection: Connection, backup_id: str) -> Backup:
        """One backup.

        Raises:
            BackupNotFound: This tenant has no such backup.
        """
        check_storable(backup_id=backup_id)
        select = self._select(connection).where(data_backups.c.id == backup_id)
        row = connection.execute(select).first()
        if row is None:
            raise BackupNotFound
        return _backup(row)

    def newest(self, connection: Connection) -> Backup | None:
        """The newest completed one by revision, whatever clocks said when it was made.

        Those that came from an archive do not count: their revisions are of another database.
        """
        row = connection.execute(
            self._select(connection)
            .where(
                data_backups.c.backup_status == "completed",
                data_backups.c.backup_type != IMPORTED,
            )
            .order_by(data_backups.c.revision.desc(), data_backups.c.created_at.desc())
            .limit(1)
        ).first()
        return None if row is None else _backup(row)

    def newest_failure(self, connection: Connection) -> Backup | None:
        """The newest one, if it failed."""
        row = connection.execute(self._newest_first(connection).limit(1)).first()
        newest = None if row is None else _backup(row)
        return newest if newest is not None and newest.backup_status == "failed" else None

    def manifest_text(self, connection: Connection, backup_id: str) -> str:
        """The encoded manifest of one backup; empty when it has none."""
        select = self._manifests(connection).where(data_backups.c.id == backup_id)
        return raw.text(connection.scalar(select)) or ""

    def manifest_texts(self, connection: Connection) -> list[str]:
        """The encoded manifests of all backups that have one."""
        select = self._manifests(connection).where(data_backups.c.manifest != "")
        return [raw.text(value) or "" for value in connection.scalars(select)]

    def insert(self, connection: Connection, backup: Backup, manifest: Manifest | None) -> None:
        """Store the row of a new backup."""
        values: dict[str, Any] = attrs.asdict(backup)
        values["record_counts"] = msgspec.json.encode(backup.record_counts).decode()
        connection.execute(
            sa.insert(data_backups).values(
                tenant_id=self.tenant,
                manifest="" if manifest is None else manifest.encode(),
                **values,
            )
        )

    def note_failure(self, connection: Connection, now: dt.datetime, error: str) -> None:
        """Leave a row that tells of an automatic backup that failed; one per run of failures."""
        newest = self.newest_failure(connection)
        if newest is not None and newest.backup_type == "automatic" and not newest.payload_sha256:
            self.update(connection, newest.id, confirmed_at=now, error=error)
            return
        self.insert(
            connection,
            Backup(
                id=new_id(),
                backup_type="automatic",
                backup_status="failed",
                revision=0,
                created_at=now,
                actor="scheduler",
                error=error,
            ),
            None,
        )

    def update(self, connection: Connection, backup_id: str, **values: Any) -> None:
        """Change single columns of one row.

        Raises:
            BackupNotFound: It is gone.
        """
        check_storable(backup_id=backup_id)
        result = connection.execute(
            sa.update(data_backups)
            .where(data_backups.c.tenant_id == self.tenant, data_backups.c.id == backup_id)
            .values(**values)
        )
        if result.rowcount == 0:
            raise BackupNotFound

    def delete(self, connection: Connection, ids: Iterable[str]) -> None:
        """Remove rows; their chunks are collected separately."""
        for backup_id in ids:
            connection.execute(
                sa.delete(data_backups).where(
                    data_backups.c.tenant_id == self.tenant, data_backups.c.id == backup_id
                )
            )

    def totals(self, connection: Connection) -> tuple[int, int]:
        """How many completed, and the bytes of their states before compression."""
        row = connection.execute(
            sa.select(
                sa.func.count(), sa.func.coalesce(sa.func.sum(data_backups.c.file_size_bytes), 0)
            ).where(
                data_backups.c.tenant_id == self.tenant,
                data_backups.c.backup_status == "completed",
            )
        ).one()
        return int(row[0]), int(row[1])

    def _manifests(self, connection: Connection) -> sa.Select[Any]:
        columns = raw.columns(connection, [data_backups.c.manifest])
        return sa.select(*columns).where(data_backups.c.tenant_id == self.tenant)

    def _select(self, connection: Connection) -> sa.Select[Any]:
        columns = raw.columns(connection, _COLUMNS)
        return sa.select(*columns).where(data_backups.c.tenant_id == self.tenant)

    def _newest_first(self, connection: Connection) -> sa.Select[Any]:
        return self._select(connection).order_by(
            data_backups.c.created_at.desc(), data_backups.c.revision.desc(), data_backups.c.id
        )
