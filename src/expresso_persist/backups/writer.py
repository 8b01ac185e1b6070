"""Making a backup: the state is read at one revision, cut, packed, and stored at once.

Reading happens in one read transaction and packing outside of any, so that writers wait
only while finished rows are inserted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from importlib import metadata

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore, cut
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.manifest import Manifest, Section, new_id, payload_sha256
from expresso_persist.backups.packing import Packed, ancestors, pack
from expresso_persist.backups.snapshot import SectionData, encode_records, section_of
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import read_head
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import Head, Record

__all__ = ["Draft", "Writer", "draft_of"]


@attrs.frozen
class Draft:
    """A state that was read and is not stored yet.

    Attributes:
        head: The revision it shows.
        sections: Its parts.
        chunks: The bytes of the chunks that were read. Sections taken over from an
            earlier backup of the same revision have theirs in the database.
    """

    head: Head
    sections: tuple[Section, ...]
    chunks: Mapping[str, bytes] = attrs.field(repr=False)

    @property
    def payload_sha256(self) -> str:
        """The checksum of the state."""
        return payload_sha256(self.sections)


def draft_of(head: Head, parts: Iterable[SectionData]) -> Draft:
    """Cut a state into chunks.

    Args:
        head: The revision it shows.
        parts: Its sections.
    """
    found: dict[str, bytes] = {}
    return Draft(head, _cut(parts, found), found)


@attrs.frozen
class Writer:
    """Reads the state of one tenant and stores it."""

    repository: InventoryRepository
    catalog: Catalog
    chunks: ChunkStore
    host_tables: HostTables

    def read(self, *, reuse: bool) -> Draft:
        """Read the state.

        Args:
            reuse: Take the records over from the newest verified backup when there was no
                commit since; only the host's rows, which have no revisions, are read.
        """
        self.repository.head()  # the first use of a tenant creates it
        database, tenant = self.repository.database, self.repository.tenant
        records: tuple[Record, ...] = ()
        with database.read() as connection:
            head = read_head(connection, tenant) or Head("", 0, "")
            known = self._known_sections(connection, head) if reuse else None
            if known is None:
                records = self.repository.snapshot(connection).records
            host = self.host_tables.read(connection, tenant, database.now(connection))
        found: dict[str, bytes] = {}
        sections = known if known is not None else _cut(encode_records(records), found)
        return Draft(head, (*sections, *_cut(host, found)), found)

    def pack(self, draft: Draft) -> dict[str, Packed]:
        """Compress those chunks of a draft that are not stored yet.

        Each is packed as what differs from the chunk that it replaces in the newest backup.
        """
        with self.repository.database.read() as connection:
            missing = draft.chunks.keys() - self.chunks.present(connection, draft.chunks.keys())
            pairs = {
                new: old
                for new, old in ancestors(self._newest_sections(connection), draft.sections).items()
                if new in missing
            }
            bases = self.chunks.bases(connection, set(pairs.values()))
        packed = {}
        for sha256 in missing:
            base = pairs.get(sha256)
            packed[sha256] = pack(
                draft.chunks[sha256], (base, bases[base]) if base in bases else None
            )
        return packed

    def store(
        self,
        connection: Connection,
        draft: Draft,
        packed: Mapping[str, Packed],
        *,
        kind: str,
        notes: str,
        actor: str,
        created_at: dt.datetime | None = None,
        pinned: bool = False,
    ) -> Backup:
        """Insert the row and the missing chunks, inside a write transaction.

        Args:
            connection: The transaction.
            draft: The state.
            packed: Chunks of it that are compressed already; the others are, here.
            kind: The type of backup.
            notes: Free text for people.
            actor: Who asks for it.
            created_at: When the state was read, if that was long ago.
            pinned: Keep it out of the rotation.
        """
        self.chunks.lock(connection)
        now = created_at or self.repository.database.now(connection)
        needed = {chunk for section in draft.sections for chunk in section.chunks}
        missing = needed - self.chunks.present(connection, needed)
        if not missing <= draft.chunks.keys():
            raise BackupCorrupted("The backup this one builds on was removed meanwhile; repeat it.")
        # A chunk may have come or gone since it was packed; the lock ends that.
        bases = {chunk.base for chunk in packed.values() if chunk.base is not None}
        bases = self.chunks.present(connection, bases)
        new = {}
        for sha256 in missing:
            chunk = packed.get(sha256)
            usable = chunk is not None and (chunk.base is None or chunk.base in bases)
            new[sha256] = chunk if chunk and usable else pack(draft.chunks[sha256])
        stored = self.chunks.put(connection, new)
        manifest = self._manifest(draft, now, kind, notes, actor)
        backup = attrs.evolve(Backup.of(manifest, stored), pinned=pinned)
        self.catalog.insert(connection, backup, manifest)
        return backup

    def _manifest(
        self, draft: Draft, now: dt.datetime, kind: str, notes: str, actor: str
    ) -> Manifest:
        return Manifest(
            id=new_id(),
            tenant=self.repository.tenant,
            backup_type=kind,
            created_at=now,
            actor=actor,
            notes=notes,
            epoch=draft.head.epoch,
            revision=draft.head.revision,
            head_hash=draft.head.hash,
            sections=draft.sections,
            library=_version(),
        )

    def _newest_sections(self, connection: Connection) -> tuple[Section, ...]:
        """The parts of the newest backup that can be read; none is no failure."""
        newest = self.catalog.newest(connection)
        if newest is None:
            return ()
        try:
            return self.catalog.manifest(connection, newest.id).sections
        except BackupCorrupted:
            return ()

    def _known_sections(self, connection: Connection, head: Head) -> tuple[Section, ...] | None:
        newest = self.catalog.newest(connection)
        if newest is None or newest.verified_at is None or newest.revision != head.revision:
            return None
        try:
            manifest = self.catalog.manifest(connection, newest.id)
        except BackupCorrupted:
            return None
        if (manifest.epoch, manifest.head_hash) != (head.epoch, head.hash):
            return None
        return tuple(section for section in manifest.sections if not section.from_host)


def _cut(parts: Iterable[SectionData], found: dict[str, bytes]) -> tuple[Section, ...]:
    """Cut sections into chunks, and note the bytes of each chunk in ``found``."""
    sections = []
    for part in parts:
        pieces = list(cut(part.lines))
        found.update((piece.sha256, piece.data) for piece in pieces)
        sections.append(section_of(part, [piece.sha256 for piece in pieces]))
    return tuple(sections)


def _version() -> str:
    try:
        return metadata.version("expresso-persist")
    except metadata.PackageNotFoundError:  # run from a source tree
        return ""
