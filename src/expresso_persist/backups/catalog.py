"""Rows of ``data_backups``: what is known about each backup without opening it.

The manifest is what counts: it has a checksum, and a second copy in ``backup_manifests``. The
other columns repeat it for those who list backups, and say what became of the backup since.
Backups are ordered by their revisions; clocks may have been wrong when they were made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Self

import attrs
import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.manifest import IMPORTED, Manifest, new_id
from expresso_persist.backups.rotation import SAFETY_TYPES
from expresso_persist.db import raw
from expresso_persist.db.tables import backup_manifests, data_backups
from expresso_persist.errors import BackupCorrupted, BackupNotFound
from expresso_persist.model.json_text import Json, check_storable

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

    def like(self, manifest: Manifest) -> Self:
        """With everything that the manifest says as it says it."""
        listed = type(self).of(manifest, self.stored_bytes)
        return attrs.evolve(self, **{name: getattr(listed, name) for name in _FROM_MANIFEST})

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
_TIMES = ("created_at", "confirmed_at", "verified_at")
_NUMBERS = ("revision", "file_size_bytes", "stored_bytes")


def _backup(row: sa.Row[Any]) -> Backup:
    """What can be read of a row; what cannot is made good by :meth:`Catalog.mend`."""
    values = _values(row)
    for name in _NUMBERS:
        values[name] = values[name] or 0
    values["record_counts"] = values["record_counts"] or {}
    values["pinned"] = values["pinned"] is not False  # in doubt it stays
    values["created_at"] = values["created_at"] or _LONG_AGO
    return Backup(**values)


def _values(row: sa.Row[Any]) -> dict[str, Any]:
    """The columns of a row; None for each that holds nothing of its type."""
    values = {field.name: row._mapping[field.name] for field in attrs.fields(Backup)}  # noqa: SLF001
    for name in _TIMES:
        values[name] = raw.time(values[name])
    for name in (*_NUMBERS, "pinned"):
        values[name] = raw.integer(values[name])
    values["pinned"] = {0: False, 1: True}.get(values["pinned"])
    values = {name: raw.text(v) if isinstance(v, bytes) else v for name, v in values.items()}
    try:
        values["record_counts"] = _counts.decode(values["record_counts"])
    except (msgspec.MsgspecError, TypeError):
        values["record_counts"] = None
    return values


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

    def newest(self, connection: Connection, *, safety: bool = True) -> Backup | None:
        """The newest completed one by revision, whatever clocks said when it was made.

        Those that came from an archive do not count: their revisions are of another database.

        Args:
            connection: A transaction.
            safety: Whether those made before a restore or an import count.
        """
        row = connection.execute(
            self._newest_first(connection)
            .where(
                data_backups.c.backup_status == "completed",
                data_backups.c.backup_type.not_in([IMPORTED, *(() if safety else SAFETY_TYPES)]),
            )
            .limit(1)
        ).first()
        return None if row is None else _backup(row)

    def failure(self, connection: Connection) -> Backup | None:
        """The trace that automatic backups failed since the last one was made."""
        row = connection.execute(self._select(connection).where(_IS_TRACE).limit(1)).first()
        return None if row is None else _backup(row)

    def damaged(self, connection: Connection) -> list[Backup]:
        """Those that held a state once and cannot be restored, newest first."""
        select = self._newest_first(connection).where(
            data_backups.c.backup_status == "failed", data_backups.c.payload_sha256 != ""
        )
        return [_backup(row) for row in connection.execute(select)]

    def manifest(self, connection: Connection, backup_id: str) -> Manifest:
        """The manifest of one backup, from the copy that is sound.

        Raises:
            BackupCorrupted: It failed when it was made, or both copies are damaged.
        """
        columns = (data_backups.c.manifest, backup_manifests.c.manifest)
        selects = [self._column(connection, column, backup_id) for column in columns]
        texts = [*filter(None, (raw.text(connection.scalar(select)) for select in selects))]
        if not texts:
            raise BackupCorrupted("This backup failed when it was made and holds nothing.")
        for text in texts:
            manifest = _sound(self.tenant, backup_id, text)
            if manifest is not None:
                return manifest
        Manifest.decode(texts[0])  # raises, unless it is sound
        raise BackupCorrupted("The backup's manifest is that of another backup.")

    def manifests(self, connection: Connection) -> dict[str, Manifest | None]:
        """The manifests of all backups by id; None where both copies are damaged.

        A backup of which only the second copy is left is among them.
        """
        found: dict[str, Manifest | None] = {}
        for column in (data_backups.c.manifest, backup_manifests.c.manifest):
            for backup_id, text in self._texts(connection, column).items():
                try:
                    manifest = Manifest.decode(text) if text else None
                except BackupCorrupted:
                    found.setdefault(backup_id, None)
                else:
                    if manifest is not None and manifest.tenant == self.tenant:
                        found[manifest.id] = manifest
        return found

    def _texts(self, connection: Connection, column: sa.Column[str]) -> dict[str, str]:
        wanted = raw.columns(connection, [column.table.c.id, column])
        rows = connection.execute(sa.select(*wanted).where(column.table.c.tenant_id == self.tenant))
        return {raw.name(name): raw.text(text) or "" for name, text in rows}

    # -- mending --------------------------------------------------------------------------

    def mend(self, connection: Connection, *, dry_run: bool = False) -> list[str]:
        """Make the two copies of each manifest, and each row, agree with each other again.

        Args:
            connection: A transaction that holds the lock of the chunks, or a dry run's.
            dry_run: Only say what is wrong.

        Returns:
            What was wrong, a sentence each.
        """
        found = []
        for table in (data_backups, backup_manifests):
            wrong = raw.mend_types(connection, table, self.tenant, dry_run=dry_run)
            found += [f"{wrong} values of {table.name} had another type."] if wrong else []
        found += self._mend_ids(connection, dry_run=dry_run)
        rows = connection.execute(self._select(connection, data_backups.c.manifest)).all()
        first = {raw.name(row.id): row for row in rows}
        second = self._texts(connection, backup_manifests.c.manifest)
        for name in sorted(first.keys() | second.keys()):
            row, text = first.get(name), second.get(name, "")
            found += self._mend_one(connection, name, row, text, dry_run=dry_run)
        return found

    def _mend_one(
        self, connection: Connection, name: str, row: Any, second: str, *, dry_run: bool
    ) -> list[str]:
        first = "" if row is None else raw.text(row.manifest) or ""
        if row is not None and not first and not second:
            return self._mend_trace(connection, name, row, dry_run=dry_run)
        manifest = _sound(self.tenant, name, first) or _sound(self.tenant, name, second)
        if manifest is None:
            return []  # it cannot be mended, and is shown as damaged
        text, found = manifest.encode(), []
        if row is None:
            found.append(f"The row of backup {name} was gone.")
            if not dry_run:
                self._insert_row(connection, Backup.of(manifest, 0), text)
        else:
            values = _mended(row, manifest)
            if _sound(self.tenant, name, first) is None:
                values["manifest"] = text
                found.append(f"The manifest of backup {name} was damaged.")
            if values.keys() - {"manifest"}:
                columns = ", ".join(sorted(values.keys() - {"manifest"}))
                found.append(f"The row of backup {name} was damaged ({columns}).")
            if values and not dry_run:
                self.update(connection, name, **values)
        if _sound(self.tenant, name, second) is None:
            # A row of version 0.1.0 has none yet.
            legacy = not second and first.startswith("{")
            found += [] if legacy else [f"The second manifest of backup {name} was damaged."]
            if not dry_run:
                self._write_second(connection, name, text)
            elif legacy:
                found.append(f"Backup {name} has one manifest only.")
        return found

    def _mend_trace(
        self, connection: Connection, name: str, row: Any, *, dry_run: bool
    ) -> list[str]:
        """A row that holds nothing says that it failed."""
        found = _backup(row)
        if (found.backup_status, found.payload_sha256) == ("failed", ""):
            return []
        if not dry_run:
            values = {"backup_status": "failed", "verified_at": None, "payload_sha256": ""}
            self.update(connection, name, **values)
        return [f"The row of backup {name} was damaged."]

    def _mend_ids(self, connection: Connection, *, dry_run: bool) -> list[str]:
        """Give rows whose id was damaged their own again, which their manifests say."""
        found: list[str] = []
        both = (data_backups, backup_manifests)
        texts = {table: self._texts(connection, table.c.manifest) for table in both}
        for table, twin in (both, both[::-1]):
            for name, text in texts[table].items():
                manifest = _read(self.tenant, text)
                real = name if manifest is None else manifest.id
                if real == name or _sound(self.tenant, name, texts[twin].get(name, "")):
                    continue  # in the latter case the manifest is wrong, and not the id
                found.append(f"A row of {table.name} had another id than {real}.")
                if not dry_run:
                    mine = (table.c.tenant_id == self.tenant, raw.named(table.c.id, name))
                    right = sa.update(table).where(*mine).values(id=real)
                    written_again = real in texts[table]
                    connection.execute(sa.delete(table).where(*mine) if written_again else right)
        return found

    def _write_second(self, connection: Connection, backup_id: str, text: str) -> None:
        table = backup_manifests
        connection.execute(
            sa.delete(table).where(
                table.c.tenant_id == self.tenant, raw.named(table.c.id, backup_id)
            )
        )
        connection.execute(
            sa.insert(table).values(tenant_id=self.tenant, id=backup_id, manifest=text)
        )

    # -- writing --------------------------------------------------------------------------

    def insert(self, connection: Connection, backup: Backup, manifest: Manifest | None) -> None:
        """Store the row of a new backup, and its manifest twice."""
        text = "" if manifest is None else manifest.encode()
        self._insert_row(connection, backup, text)
        if text:
            self._write_second(connection, backup.id, text)

    def write_manifest(self, connection: Connection, manifest: Manifest) -> None:
        """Store both copies of the manifest of a backup that is here."""
        text = manifest.encode()
        self.update(connection, manifest.id, manifest=text)
        self._write_second(connection, manifest.id, text)

    def _insert_row(self, connection: Connection, backup: Backup, text: str) -> None:
        values: dict[str, Any] = attrs.asdict(backup)
        values["record_counts"] = msgspec.json.encode(backup.record_counts).decode()
        connection.execute(
            sa.insert(data_backups).values(tenant_id=self.tenant, manifest=text, **values)
        )

    def note_failure(self, connection: Connection, now: dt.datetime, error: str) -> None:
        """Leave a row for an automatic backup that failed; one per run of failures."""
        trace = self.failure(connection)
        if trace is not None:
            self.update(connection, trace.id, confirmed_at=now, error=error)
            return
        newest = self.newest(connection)
        self.insert(
            connection,
            Backup(
                id=new_id(),
                backup_type="automatic",
                backup_status="failed",
                revision=0 if newest is None else newest.revision,  # for its place in the list
                created_at=now,
                actor="scheduler",
                error=error,
            ),
            None,
        )

    def forget_failure(self, connection: Connection) -> None:
        """Remove the trace of failures, because a backup was made."""
        connection.execute(
            sa.delete(data_backups).where(data_backups.c.tenant_id == self.tenant, _IS_TRACE)
        )

    def update(self, connection: Connection, backup_id: str, **values: Any) -> None:
        """Change single columns of one row.

        Raises:
            BackupNotFound: It is gone.
        """
        result = connection.execute(
            sa.update(data_backups)
            .where(data_backups.c.tenant_id == self.tenant, raw.named(data_backups.c.id, backup_id))
            .values(**values)
        )
        if result.rowcount == 0:
            raise BackupNotFound

    def delete(self, connection: Connection, ids: Iterable[str]) -> None:
        """Remove backups; their chunks are collected separately."""
        for backup_id in ids:
            for table in (data_backups, backup_manifests):
                connection.execute(
                    sa.delete(table).where(
                        table.c.tenant_id == self.tenant, table.c.id == backup_id
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

    def _column(
        self, connection: Connection, column: sa.Column[str], backup_id: str
    ) -> sa.Select[Any]:
        (wanted,) = raw.columns(connection, [column])
        table = column.table
        return sa.select(wanted).where(table.c.tenant_id == self.tenant, table.c.id == backup_id)

    def _select(self, connection: Connection, *more: sa.Column[Any]) -> sa.Select[Any]:
        columns = raw.columns(connection, [*_COLUMNS, *more])
        return sa.select(*columns).where(data_backups.c.tenant_id == self.tenant)

    def _newest_first(self, connection: Connection) -> sa.Select[Any]:
        """By revision; those from archives, whose revisions are of another database, last."""
        return self._select(connection).order_by(
            sa.case((data_backups.c.backup_type == IMPORTED, 1), else_=0),
            data_backups.c.revision.desc(),
            data_backups.c.created_at.desc(),
            data_backups.c.id,
        )


def _read(tenant: str, text: str) -> Manifest | None:
    """The manifest of a text, if it is sound and of this tenant."""
    try:
        manifest = Manifest.decode(text)
    except BackupCorrupted:
        return None
    return manifest if manifest.tenant == tenant else None


def _sound(tenant: str, backup_id: str, text: str) -> Manifest | None:
    manifest = _read(tenant, text)
    return manifest if manifest is not None and manifest.id == backup_id else None


def _mended(row: Any, manifest: Manifest) -> dict[str, Any]:
    """The columns of a row that are not what they should be, as they should be."""
    found = _values(row)
    backup = _backup(row)
    right = attrs.asdict(backup.like(manifest), recurse=False)
    if backup.backup_status not in ("completed", "failed"):
        right |= {"backup_status": "completed", "verified_at": None}
    wrong = {name: value for name, value in right.items() if found[name] != value}
    for name in ("confirmed_at", "verified_at"):
        if found[name] is None and row._mapping[name] is not None:  # noqa: SLF001
            wrong[name] = None  # it is no time
    if "record_counts" in wrong:
        wrong["record_counts"] = msgspec.json.encode(wrong["record_counts"]).decode()
    return wrong


_IS_TRACE = sa.and_(
    data_backups.c.backup_status == "failed",
    data_backups.c.payload_sha256 == "",
    data_backups.c.manifest == "",
    data_backups.c.backup_type == "automatic",
)
_FROM_MANIFEST = (
    "backup_type", "revision", "created_at", "file_size_bytes", "payload_sha256", "record_counts",
    "notes", "actor",
)  # fmt: skip
