"""Reading a backup back: every byte checked, and the state rebuilt in another database."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Mapping

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import Manifest, Section
from expresso_persist.backups.snapshot import decode_records, encode_records, section_of
from expresso_persist.database import Database
from expresso_persist.errors import BackupCorrupted, ExpressoPersistError
from expresso_persist.records import RECORD_TYPES, Record
from expresso_persist.state import State, record_row
from expresso_persist.tables import RECORD_TABLES, metadata

__all__ = ["Verification", "Verifier", "digests", "load", "open_records", "rebuild"]

_NOW = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # rows have times; a rebuilt state's are nobody's
_COVERED = "read back, checksums compared, rebuilt in a scratch database"


@attrs.frozen
class Verification:
    """What a check of one backup found.

    Attributes:
        backup_id: The backup.
        ok: It restores to the state that it was made from.
        problems: What is wrong with it, a sentence each.
        damaged_chunks: Names of chunks that are missing or changed.
        repaired: How many of those were written anew from the live state.
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

    def verify(self, backup_id: str, contents: Mapping[str, bytes] | None = None) -> Verification:
        """Check one backup.

        Args:
            backup_id: The backup.
            contents: Bytes of chunks, known from the state it was just made of. A part
                shared with older backups that has rotted is written anew from them, which
                mends the older backups as well.
        """
        result = self._check(backup_id)
        damaged = result.damaged_chunks
        if damaged and contents is not None and set(damaged) <= contents.keys():
            with self.database.write() as connection:
                self.chunks.lock(connection)
                for sha256 in damaged:
                    self.chunks.replace(connection, sha256, contents[sha256])
            result = attrs.evolve(self._check(backup_id), repaired=len(damaged))
            self._note(result)
            self._verify_failed_ones()
        else:
            self._note(result)
        return result

    def _verify_failed_ones(self) -> None:
        with self.database.read() as connection:
            backups = self.catalog.all(connection)
        for backup in backups:
            if backup.backup_status == "failed" and backup.payload_sha256:
                self._note(self._check(backup.id))

    def _check(self, backup_id: str) -> Verification:
        try:
            with self.database.read() as connection:
                _, manifest = load(connection, self.catalog, backup_id)
                records = check(connection, self.chunks, manifest)
            rebuild(manifest, records)
        except BackupCorrupted as error:
            damaged = tuple(error.context.get("chunks", ()))
            return Verification(
                backup_id, ok=False, problems=(error.message,), damaged_chunks=damaged
            )
        return Verification(backup_id, ok=True)

    def _note(self, result: Verification) -> None:
        with self.database.write() as connection:
            if result.ok:
                mended = f"; {result.repaired} damaged chunks written anew" * bool(result.repaired)
                self.catalog.update(
                    connection,
                    result.backup_id,
                    verified_at=self.database.now(connection),
                    verification=_COVERED + mended,
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


def load(connection: Connection, catalog: Catalog, backup_id: str) -> tuple[Backup, Manifest]:
    """Read a backup's row and manifest, and check that they tell the same.

    Raises:
        BackupNotFound: There is no such backup.
        BackupCorrupted: It failed when it was made, or one of the two was changed.
    """
    backup = catalog.get(connection, backup_id)
    text = catalog.manifest_text(connection, backup_id)
    if not text:
        raise BackupCorrupted("This backup failed when it was made and holds nothing.")
    manifest = Manifest.decode(text)
    told = (
        (backup.id, manifest.id),
        (catalog.tenant, manifest.tenant),
        (backup.backup_type, manifest.backup_type),
        (backup.created_at, manifest.created_at),
        (backup.revision, manifest.revision),
        (backup.file_size_bytes, manifest.size),
        (backup.payload_sha256, manifest.payload_sha256),
        (backup.record_counts, manifest.record_counts),
    )
    if any(row != listed for row, listed in told):
        raise BackupCorrupted("The backup's row does not fit its manifest.")
    return backup, manifest


def open_records(
    connection: Connection, chunks: ChunkStore, manifest: Manifest, kinds: Collection[str]
) -> list[Record]:
    """Read the records of some kinds, every byte checked.

    Raises:
        BackupCorrupted: A chunk is missing or damaged, or does not hold what it should.
    """
    sections = [s for s in manifest.sections if s.name in kinds and not s.from_host]
    data = chunks.read(connection, {chunk for section in sections for chunk in section.chunks})
    return [record for section in sections for record in _records(section, data)]


def check(connection: Connection, chunks: ChunkStore, manifest: Manifest) -> list[Record]:
    """Read all of a backup, the host's rows too, and give back its records.

    Raises:
        BackupCorrupted: Any byte of it is not what was stored.
    """
    data = chunks.read(connection, manifest.chunk_ids)
    records: list[Record] = []
    for section in manifest.sections:
        if section.from_host:
            _check_host(section, data)
        else:
            records += _records(section, data)
    return records


def _records(section: Section, data: Mapping[str, bytes]) -> list[Record]:
    return decode_records(section, b"".join(data[chunk] for chunk in section.chunks))


def _check_host(section: Section, data: Mapping[str, bytes]) -> None:
    if section.state != "stored":
        return
    content = b"".join(data[chunk] for chunk in section.chunks)
    if (
        hashlib.sha256(content).hexdigest() != section.sha256
        or content.count(b"\n") != section.records
    ):
        raise BackupCorrupted(f"Section {section.name} does not match its checksum.")


def digests(records: Iterable[Record]) -> dict[str, str]:
    """The checksum of each kind's records, as in a manifest."""
    return {data.name: section_of(data, ()).sha256 for data in encode_records(records)}


def rebuild(manifest: Manifest, records: Collection[Record]) -> None:
    """Restore into a scratch database and compare the result with the manifest.

    Raises:
        BackupCorrupted: What comes out is not the state that went in.
    """
    scratch, tenant = Database("sqlite://"), manifest.tenant
    by_kind: dict[str, list[Record]] = {}
    for record in records:
        by_kind.setdefault(record.kind, []).append(record)
    try:
        metadata.create_all(scratch.engine, tables=list(RECORD_TABLES.values()))
        with scratch.write() as connection:
            for kind, found in by_kind.items():
                rows = (record_row(record, tenant, 1, _NOW, "verify") for record in found)
                scratch.bulk_insert(connection, RECORD_TABLES[kind], rows, len(found))
        with scratch.read() as connection:
            state = State(connection, tenant)
            rebuilt = digests(record for kind in RECORD_TYPES for record in state.all(kind))
    except BackupCorrupted:
        raise
    except ExpressoPersistError as error:
        raise BackupCorrupted(f"The backup does not restore: {error.message}") from error
    finally:
        scratch.close()
    for section in manifest.sections:
        if not section.from_host and rebuilt[section.name] != section.sha256:
            raise BackupCorrupted(f"The backup restores to another state of {section.name}.")
