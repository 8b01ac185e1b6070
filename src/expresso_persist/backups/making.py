"""Making a backup: the state is read at one revision, cut, packed, and stored at once.

Reading happens in one read transaction and packing outside of any, so that writers wait
only while finished rows are inserted. A request with an idempotency key makes one backup,
however often it is sent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

import attrs
import msgspec
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore, cut
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.manifest import (
    Manifest,
    Section,
    SectionData,
    encode_records,
    new_id,
    payload_sha256,
    section_of,
)
from expresso_persist.backups.packing import Packed, ancestors, pack
from expresso_persist.backups.rotation import PRE_IMPORT
from expresso_persist.backups.scheduler import DueMark
from expresso_persist.backups.scrub import Scrubber
from expresso_persist.backups.verification import Verifier
from expresso_persist.commits import idempotency
from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import read_head
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.errors import (
    BackupCorrupted,
    BackupNotFound,
    Busy,
    ExpressoPersistError,
    InvalidInput,
)
from expresso_persist.model import json_text
from expresso_persist.model.records import Head, Record
from expresso_persist.model.secrets import refuse_text

__all__ = ["Draft", "Keyed", "Maker", "Made", "Writer", "draft_of"]

_TYPES = ("automatic", "manual", "safety", PRE_IMPORT)
_MAX_NOTES = 1000


@attrs.frozen
class Made:
    """What a request for a backup gave.

    Attributes:
        backup: The backup, as the first answer showed it.
        replayed: An earlier request with the same idempotency key made it.
        already: An archive that was taken in was of this backup, which was here before.
    """

    backup: Backup
    replayed: bool = False
    already: bool = False


@attrs.frozen
class Keyed:
    """Remembers the backups of requests that carry a key.

    Attributes:
        database: Where the keys are.
        get: Gives a backup by its id.
        verify: Checks a backup.
    """

    database: Database
    get: Callable[[str], Backup]
    verify: Callable[[str], object]

    def once(self, request: KeyedRequest | None, make: Callable[[], Backup]) -> Made:
        """Make a backup unless an earlier request with the key did.

        Args:
            request: The request; None for one without a key.
            make: Makes it, and takes the key in the same transaction.

        Raises:
            IdempotencyMismatch: The key was used for another request.
        """
        if request is None:
            return Made(make())
        with self.database.read() as connection:
            known = idempotency.find(connection, request)
        if known is not None and known.answer is not None:
            return Made(_read_answer(known.answer), replayed=True)
        if known is not None:
            return self.answered(request, self.finished(known.subject))
        try:
            backup = make()
        except _MadeBefore as earlier:  # while this one read the state
            backup = self.finished(earlier.backup_id)
        return self.answered(request, backup)

    def claim(self, connection: Connection, request: KeyedRequest | None) -> None:
        """Take the key in the transaction that stores the backup, or end that transaction."""
        if request is None:
            return
        known = idempotency.claim(self.database, connection, request)
        if known is not None:
            raise _MadeBefore(known.subject)

    def made(self, connection: Connection, request: KeyedRequest | None, backup: Backup) -> None:
        """Remember, in the same transaction, which backup it is."""
        if request is not None:
            idempotency.made(connection, request, backup.id)

    def answered(self, request: KeyedRequest, backup: Backup) -> Made:
        """Keep the answer to a request, or give the one that was kept before."""
        text = json_text.dumps(backup.to_json())
        kept, first = idempotency.answered(self.database, request, backup.id, text)
        return Made(backup) if first else Made(_read_answer(kept), replayed=True)

    def finished(self, backup_id: str) -> Backup:
        """A backup whose maker may have died before it was verified.

        Raises:
            BackupCorrupted: It was stored but does not restore.
        """
        backup = self.get(backup_id)
        if backup.verified_at is None:
            self.verify(backup_id)
            backup = self.get(backup_id)
        if backup.backup_status != "completed":
            raise BackupCorrupted(
                f"The backup was stored but does not restore: {backup.error}",
                context={"backup_id": backup_id},
            )
        return backup


class _MadeBefore(Exception):
    """The same request was sent twice at a time, and the other one was faster."""

    def __init__(self, backup_id: str) -> None:
        super().__init__(backup_id)
        self.backup_id = backup_id


def _read_answer(answer: str) -> Backup:
    return msgspec.json.decode(answer, type=Backup)


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

    def live_chunks(self) -> Mapping[str, bytes]:
        """The chunks that a backup made now would have."""
        return self.read(reuse=False).chunks

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
            actor: Who makes it.
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


@attrs.frozen
class Maker:
    """Makes the backups of one tenant, and verifies each of them.

    Attributes:
        writer: Reads and stores the state.
        verifier: Reads backups back.
        scrubber: Mends what backups share.
        keyed: Knows the requests that carry a key.
        due: When the automatic backup is due.
        note: Remembers an error for the status.
    """

    writer: Writer
    verifier: Verifier
    scrubber: Scrubber
    keyed: Keyed
    due: DueMark
    note: Callable[[BaseException], None]

    def once(self, kind: str, notes: str, actor: str, request: KeyedRequest | None) -> Made:
        """Make a backup unless an earlier request with the key did.

        Raises:
            InvalidInput: The kind is unknown, or the notes are too long, cannot be stored or
                hold a secret.
        """
        if kind not in _TYPES:
            raise InvalidInput(f"{kind!r} is not a type of backup; use {', '.join(_TYPES)}.")
        json_text.check_storable(notes=notes, actor=actor)
        if not isinstance(notes, str) or len(notes) > _MAX_NOTES:  # type: ignore[redundant-expr]
            raise InvalidInput(
                f"The notes of a backup are a text of at most {_MAX_NOTES} characters."
            )
        refuse_text(notes=notes, actor=actor)

        def make() -> Backup:
            try:
                backup = self.make(kind, notes, actor, request=request)
            except ExpressoPersistError as error:
                self.note(error)
                raise
            if backup is None:  # pragma: no cover - only one with a lease may find it made
                raise Busy("Another process made the backup meanwhile.")
            return backup

        return self.keyed.once(request, make)

    def make(
        self,
        kind: str,
        notes: str,
        actor: str,
        *,
        lease: Lease | None = None,
        request: KeyedRequest | None = None,
    ) -> Backup | None:
        """Make a backup; with a lease only if no other process made one since this began."""
        automatic = kind == "automatic"
        with self.keyed.database.read() as connection:
            last = self.due.last(connection)
        draft = self.writer.read(reuse=automatic)
        _renew(lease)
        packed = self.writer.pack(draft)
        _renew(lease)

        def store(connection: Connection) -> tuple[Backup, bool] | None:
            self.keyed.claim(connection, request)
            # Who is so slow that the lease was lost goes on: the first to get here stores it.
            # If all gave up instead, a state too large for one lease would have no backups.
            if lease is not None and not self.due.claim(connection, last):
                return None
            confirmed: Backup | None = None
            if automatic:
                self.due.lock(connection)  # before the chunks, always in this order
                confirmed = self._confirm(connection, draft)
            backup = confirmed or self.writer.store(
                connection, draft, packed, kind=kind, notes=notes, actor=actor
            )
            self.keyed.made(connection, request, backup)
            self.writer.catalog.forget_failure(connection)
            if automatic:
                # The very time that the row shows, so that rows are an interval apart.
                self.due.move(connection, backup.confirmed_at or backup.created_at)
            return backup, confirmed is not None

        stored = self.keyed.database.transact(store)
        if stored is None:
            return None
        backup, unchanged = stored
        if unchanged:
            return backup
        if not self.verifier.verify(backup.id).ok:
            # It shares pieces that have rotted, and knows what was in them.
            self.scrubber.run(draft.chunks)
            self.verifier.require(backup.id)
        return self.keyed.get(backup.id)

    def _confirm(self, connection: Connection, draft: Draft) -> Backup | None:
        """Mark the newest backup as confirmed when it shows the very state of the draft."""
        catalog = self.writer.catalog
        newest = catalog.newest(connection)
        if (
            newest is None
            or newest.verified_at is None
            or newest.payload_sha256 != draft.payload_sha256
        ):
            return None
        try:
            self.writer.catalog.update(
                connection, newest.id, confirmed_at=self.keyed.database.now(connection)
            )
            return catalog.get(connection, newest.id)
        except BackupNotFound:  # a rotation removed it at this moment
            return None

    def leave_trace(self, error: str) -> None:
        """Note in a row, for other processes to see, that an automatic backup failed."""
        database, catalog = self.keyed.database, self.writer.catalog
        database.transact(
            lambda connection: catalog.note_failure(connection, database.now(connection), error)
        )


def _renew(lease: Lease | None) -> None:
    """Keep a lease between two steps of the work, unless somebody took it over."""
    if lease is not None:
        lease.acquire()
