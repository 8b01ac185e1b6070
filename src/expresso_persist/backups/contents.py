"""Reading stored backups back, every byte checked; a few chunks at a time are held."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import Manifest, Section
from expresso_persist.backups.snapshot import checked, decode_records
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import Record

__all__ = ["check_host_rows", "load", "open_records", "pieces"]

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
