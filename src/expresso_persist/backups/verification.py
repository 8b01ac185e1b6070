"""Reading backups back, every byte checked, and the proof that they restore.

A few chunks at a time are held. For the proof the state is rebuilt in another database, read
back and compared.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import (
    Manifest,
    Section,
    checked,
    decode_records,
    record_line,
)
from expresso_persist.commits.state import record_row
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, metadata
from expresso_persist.errors import BackupCorrupted, ExpressoPersistError
from expresso_persist.model.records import RECORD_TYPES, Record

__all__ = [
    "Verification",
    "Verifier",
    "check_host_rows",
    "load",
    "open_records",
    "pieces",
    "rebuild",
]

_AT_ONCE = 8  # chunks per query, up to 8 MiB


def load(connection: Connection, catalog: Catalog, backup_id: str) -> tuple[Backup, Manifest]:
    """Read a backup's row and manifest; where they differ, the manifest is right.

    Raises:
        BackupNotFound: There is no such backup.
        BackupCorrupted: It failed when it was made, or both copies of its manifest are damaged.
    """
    backup = catalog.get(connection, backup_id)
    manifest = catalog.manifest(connection, backup_id)
    return backup.like(manifest), manifest


def pieces(connection: Connection, chunks: ChunkStore, section: Section) -> Iterator[bytes]:
    """The bytes of a section, chunk by chunk.

    Raises:
        BackupCorrupted: A chunk is missing or damaged.
    """
    for start in range(0, len(section.chunks), _AT_ONCE):
        names = section.chunks[start : start + _AT_ONCE]
        found = chunks.read(connection, set(names))
        for name in names:
            yield found[name]


def open_records(
    connection: Connection, chunks: ChunkStore, manifest: Manifest, kinds: Collection[str]
) -> list[Record]:
    """The records of some kinds.

    Raises:
        BackupCorrupted: A chunk is missing or damaged, or does not hold what it should.
    """
    return [
        record
        for section in manifest.sections
        if section.name in kinds and not section.from_host
        for batch in decode_records(section, pieces(connection, chunks, section))
        for record in batch
    ]


def check_host_rows(connection: Connection, chunks: ChunkStore, manifest: Manifest) -> None:
    """Read the rows of the host's tables, of which nothing is kept.

    Raises:
        BackupCorrupted: They are not what was stored.
    """
    for section in manifest.sections:
        if section.from_host and section.state == "stored":
            content = checked(section, pieces(connection, chunks, section))
            if sum(piece.count(b"\n") for piece in content) != section.records:
                raise BackupCorrupted(f"Section {section.name} does not have the rows it lists.")


_IN_MEMORY = 64 * 1024**2  # bytes of a state up to which the scratch database needs no file
_NOW = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # rows have times; here they mean nothing


def rebuild(connection: Connection, chunks: ChunkStore, manifest: Manifest) -> None:
    """Read all of a backup, restore it into a scratch database, and compare what comes out.

    Raises:
        BackupCorrupted: Any byte of it is not what was stored, or what comes out is not
            the state that went in.
    """
    check_host_rows(connection, chunks, manifest)
    with _scratch(manifest.size) as scratch:
        try:
            _fill(scratch, connection, chunks, manifest)
            _compare(scratch, manifest)
        except BackupCorrupted:
            raise
        except ExpressoPersistError as error:
            raise BackupCorrupted(f"The backup does not restore: {error.message}") from error


@contextlib.contextmanager
def _scratch(size: int) -> Iterator[Database]:
    with contextlib.ExitStack() as stack:
        url = "sqlite://"
        if size > _IN_MEMORY:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="expresso-persist-"))
            url = f"sqlite:///{Path(folder) / 'scratch.db'}"
        scratch = Database(url)
        stack.callback(scratch.close)
        metadata.create_all(scratch.engine, tables=list(RECORD_TABLES.values()))
        yield scratch


def _fill(
    scratch: Database, connection: Connection, chunks: ChunkStore, manifest: Manifest
) -> None:
    def insert(target: Connection) -> None:
        for section in manifest.sections:
            if section.from_host:
                continue
            for batch in decode_records(section, pieces(connection, chunks, section)):
                rows = (record_row(item, manifest.tenant, 1, _NOW, "verify") for item in batch)
                scratch.bulk_insert(target, RECORD_TABLES[section.name], rows, len(batch))

    scratch.transact(insert)


def _compare(scratch: Database, manifest: Manifest) -> None:
    with scratch.read() as connection:
        for section in manifest.sections:
            if section.from_host:
                continue
            digest = hashlib.sha256()
            for record in _in_key_order(connection, manifest.tenant, section.name):
                digest.update(record_line(record).data)
            if digest.hexdigest() != section.sha256:
                raise BackupCorrupted(f"The backup restores to another state of {section.name}.")


def _in_key_order(connection: Connection, tenant: str, kind: str) -> Iterator[Record]:
    """The rows of a kind as records; SQLite sorts text by its UTF-8 bytes, as a backup is."""
    table, record_type = RECORD_TABLES[kind], RECORD_TYPES[kind]
    keys = [table.c[name] for name in record_type.key_columns]
    query = (
        sa.select(*keys, table.c.data, table.c.position, table.c.raw_text)
        .where(table.c.tenant_id == tenant)
        .order_by(*keys)
    )
    for row in connection.execute(query):
        *parts, text, position, raw = tuple(row)
        yield record_type(tuple(parts), text, position, raw)


_COVERED = "read back and rebuilt in a scratch database"


@attrs.frozen
class Verification:
    """What a check of one backup found.

    Attributes:
        backup_id: The backup.
        ok: It restores to the state that it was made from.
        problems: What is wrong with it, a sentence each.
        damaged_chunks: Names of chunks that are missing or changed.
        repaired: How many damaged pieces and rows of all backups were written again before
            it was read.
    """

    backup_id: str
    ok: bool
    problems: tuple[str, ...] = ()
    damaged_chunks: tuple[str, ...] = ()
    repaired: int = 0


@attrs.frozen
class Verifier:
    """Checks backups of one tenant and notes the results in their rows."""

    database: Database
    catalog: Catalog
    chunks: ChunkStore

    def verify(self, backup_id: str) -> Verification:
        """Check one backup, and note the result in its row."""
        result = self._check(backup_id)
        self.note(result)
        return result

    def require(self, backup_id: str, what: str = "backup") -> None:
        """Check one backup that was just stored.

        Raises:
            BackupCorrupted: It does not restore.
        """
        result = self.verify(backup_id)
        if not result.ok:
            raise BackupCorrupted(
                f"The {what} was stored but does not restore: {' '.join(result.problems)}",
                context={"backup_id": backup_id},
            )

    def _check(self, backup_id: str) -> Verification:
        try:
            with self.database.read() as connection:
                _, manifest = load(connection, self.catalog, backup_id)
                try:
                    rebuild(connection, self.chunks, manifest)
                except BackupCorrupted as error:
                    return Verification(
                        backup_id,
                        ok=False,
                        problems=(error.message,),
                        damaged_chunks=tuple(self.chunks.damaged(connection, manifest.chunk_ids)),
                    )
        except BackupCorrupted as error:
            return Verification(backup_id, ok=False, problems=(error.message,))
        return Verification(backup_id, ok=True)

    def note(self, result: Verification) -> None:
        """Write into the backup's row what a check found."""

        def write(connection: Connection) -> None:
            if result.ok:
                self.catalog.update(
                    connection,
                    result.backup_id,
                    verified_at=self.database.now(connection),
                    verification=_COVERED,
                    backup_status="completed",
                    error=None,
                )
            elif self.catalog.get(connection, result.backup_id).payload_sha256:
                # One that failed before it held anything keeps its first reason.
                found = " ".join(result.problems)
                self.catalog.update(
                    connection,
                    result.backup_id,
                    verified_at=None,
                    verification=found,
                    backup_status="failed",
                    error=found,
                )

        self.database.transact(write)
