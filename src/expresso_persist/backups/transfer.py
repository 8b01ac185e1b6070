"""Backups out of the database as archives, and archives into it as backups.

Checksums say that an archive is as somebody wrote it, not who that was. What is let in is
stored, shown and restored later, so every line is checked before: only what a database here
could have written is let in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

import attrs
import msgspec
from sqlalchemy.engine import Connection

from expresso_persist.backups.archive import (
    AGE_MAGIC,
    ArchiveLimits,
    ArchiveReader,
    as_file,
    write_archive,
)
from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore, cut
from expresso_persist.backups.encryption import Encryption, is_encrypted
from expresso_persist.backups.manifest import (
    FORMAT,
    HOST_PREFIX,
    IMPORTED,
    Line,
    Manifest,
    RecordLine,
    Section,
    checked,
    new_id,
    record_line,
)
from expresso_persist.backups.mirrors import OpenedCopy
from expresso_persist.backups.packing import Packed, pack
from expresso_persist.backups.verification import load, pieces
from expresso_persist.commits.idempotency import KeyedRequest, claim, find, made
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db.database import Database
from expresso_persist.documents import render
from expresso_persist.errors import ArchiveRefused, Busy, InvalidInput, PayloadTooLarge
from expresso_persist.model import json_text
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey, record_from

__all__ = ["Progress", "Transfer", "admitted", "check_manifest", "whole_file"]

_ID = re.compile("[0-9a-f]{32}")
_MOST_TEXT = 1000  # characters of any text in a manifest
_MOST_KEY = 512  # characters of a part of a key; longer ones fit no index of PostgreSQL
_ROW_DEPTH = 900  # a host's JSON columns may hold anything
_POSITIONS = range(-(2**31), 2**31)
_REVISIONS = range(2**63)
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_decoder = msgspec.json.Decoder(RecordLine)


def check_manifest(manifest: Manifest) -> None:
    """Check what an archive says about itself.

    Raises:
        ArchiveRefused: No backup is like that, or this version does not know it.
    """
    if manifest.format > FORMAT:
        raise ArchiveRefused(
            f"The archive holds a backup of format {manifest.format}; this version of "
            f"expresso-persist reads up to {FORMAT}. Upgrade it."
        )
    texts: list[json_text.Json] = [
        value for value in attrs.asdict(manifest, recurse=False).values() if isinstance(value, str)
    ]
    texts += [text for section in manifest.sections for text in (section.name, section.note)]
    if (
        manifest.format < 1
        or _ID.fullmatch(manifest.id) is None
        or manifest.created_at.utcoffset() != dt.timedelta()
        or manifest.created_at < _EARLIEST
        or manifest.revision not in _REVISIONS
        or any(len(str(text)) > _MOST_TEXT for text in texts)
        or json_text.find_unstorable(texts) is not None
    ):
        raise ArchiveRefused("The archive's first line has values that no backup has.")
    for section in manifest.sections:
        _check_section_name(section)


def _check_section_name(section: Section) -> None:
    table = section.name.removeprefix(HOST_PREFIX)
    if not section.from_host:
        if section.name not in RECORD_TYPES:
            raise _refused(section, "is of a kind that this version does not know; upgrade it")
        if section.state != "stored":
            raise _refused(section, f"cannot be {section.state}")
    elif not table.isprintable() or not table or {"/", "\\"} & {*table}:
        raise _refused(section, "is not named for a table")


def _refused(section: Section, why: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive cannot be used: section {section.name[:80]!r} {why}.")


def admitted(section: Section, lines: Iterable[bytes]) -> Iterator[Line]:
    """Pass the lines of a section on, each after it was checked.

    Raises:
        ArchiveRefused: A line is not what a section of this name holds, or is not sorted.
    """
    before: tuple[str, ...] | None = None
    for data in lines:
        try:
            if section.from_host:
                yield _admitted_row(data)
                continue
            record = _admitted_record(section, data)
        except (msgspec.MsgspecError, InvalidInput, RecursionError, UnicodeError) as error:
            what = "rows" if section.from_host else "records"
            raise _refused(
                section, f"has a line that does not hold {what} as they are written"
            ) from error
        if before is not None and record.parts <= before:
            raise _refused(section, "is not sorted by key")
        before = record.parts
        yield record_line(record)


def _admitted_row(data: bytes) -> Line:
    if not isinstance(json_text.loads(data, max_depth=_ROW_DEPTH, reject_duplicates=True), dict):
        raise InvalidInput("A row is an object.")
    return Line(data, data)


def _admitted_record(section: Section, data: bytes) -> Record:
    line = _decoder.decode(data)
    if (
        len(line.key) != len(RECORD_TYPES[section.name].key_columns)
        or any(len(part) > _MOST_KEY for part in line.key)
        or line.position not in _POSITIONS
        or json_text.find_unstorable([*line.key, line.raw]) is not None
    ):
        raise InvalidInput("A record is addressed by its key.")
    record = record_from(RecordKey(section.name, line.key), line.text, line.position, line.raw)
    render.check(record)
    # Its checksum is compared again with what the restored record is written as.
    if record_line(record).data != data:
        raise InvalidInput("A record is written in one way only.")
    return record


Progress: TypeAlias = Callable[[int, int], None]
_IN_MEMORY = 8 * 1024**2  # temporary files up to this size never reach the disk
_BLOCK = 256 * 1024
_BATCH_BYTES = 8 * 1024**2


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


@attrs.frozen
class Transfer:
    """Archives of one tenant's backups.

    Attributes:
        repository: Whose backups they are.
        catalog: Their rows.
        chunks: Their contents.
        limits: What an archive may cost.
    """

    repository: InventoryRepository
    catalog: Catalog
    chunks: ChunkStore
    limits: ArchiveLimits = attrs.field(factory=ArchiveLimits)

    def export(
        self,
        backup_id: str,
        target: str | Path | IO[bytes],
        encryption: Encryption,
        progress: Progress | None = None,
    ) -> Backup:
        """Write a backup as an archive; one chunk at a time is held in memory.

        Args:
            backup_id: The backup.
            target: A path, which appears when all of it is written, or a binary file.
            encryption: For whom to encrypt it, if for anybody.
            progress: Called with the bytes before compression that are written, and all.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged; what was written is no archive.
        """
        if isinstance(target, (str, Path)):
            with whole_file(Path(target)) as file:
                return self.export(backup_id, file, encryption, progress)
        with self._database.read() as connection:
            backup, manifest = load(connection, self.catalog, backup_id)
            archive = write_archive(
                manifest,
                lambda section: checked(section, pieces(connection, self.chunks, section)),
                progress or (lambda *_: None),
            )
            if encryption.encrypts:
                encryption.encrypt(as_file(archive), target)
            else:
                target.writelines(archive)
        return backup

    def import_(
        self,
        source: str | Path | IO[bytes] | OpenedCopy,
        encryption: Encryption,
        *,
        from_tenant: str | None = None,
        progress: Progress | None = None,
        keyed: Callable[[str], KeyedRequest | None] = lambda _: None,
    ) -> tuple[str, bool, KeyedRequest | None]:
        """Store an archive as a backup, after every byte of it was checked.

        Args:
            source: A path, a binary file, read from where it stands to its end, or a mirror's
                copy.
            encryption: What opens it, if it is encrypted.
            from_tenant: The tenant that it must come from; the repository's when left out.
            progress: Called with the bytes that are stored, and all.
            keyed: Gives the request that this is, if it has an idempotency key, from the
                digest of the archive's bytes.

        Returns:
            The id of the backup, whether it was there already, and the request.

        Raises:
            ArchiveRefused: It is damaged, hostile, of another tenant or too new. Nothing
                was stored.
        """
        if isinstance(source, (str, Path)):
            json_text.check_storable(source=str(source))
            with Path(source).open("rb") as whole:
                return self.import_(
                    whole, encryption, from_tenant=from_tenant, progress=progress, keyed=keyed
                )
        digest = hashlib.sha256()
        with self._opened(source, encryption, digest) as file:
            request = keyed(digest.hexdigest())
            if request is not None:
                with self._database.read() as connection:
                    earlier = find(connection, request)
                if earlier is not None:
                    return earlier.subject, True, request
            reader = ArchiveReader(file, self.limits)
            _check_name(source, reader.header.backup)
            self._check_tenant(reader.header.backup, from_tenant)
            _check(reader)
            with self._database.read() as connection:
                known = self._same(connection, reader.header.backup)
            if known is not None:
                return known.id, True, request
            file.seek(0)
            stored = self._store(ArchiveReader(file, self.limits), progress, request)
            return *stored, request

    def mend(self, source: OpenedCopy, encryption: Encryption) -> None:
        """Write what has rotted of a backup that is here again, from its copy at a mirror.

        Raises:
            ArchiveRefused: The copy is damaged or another one, or cannot be decrypted.
        """
        with self._opened(source, encryption, hashlib.sha256()) as file:
            reader = ArchiveReader(file, self.limits)
            _check_name(source, reader.header.backup)
            self._check_tenant(reader.header.backup, None)
            _check(reader)
            file.seek(0)
            manifest, _ = self._contents(ArchiveReader(file, self.limits), None)

        def write(connection: Connection) -> None:
            self.chunks.lock(connection)
            self._require_chunks(connection, manifest)
            self.catalog.write_manifest(connection, manifest)

        self._database.transact(write)

    @property
    def _database(self) -> Database:
        return self.repository.database

    @contextlib.contextmanager
    def _opened(
        self, source: IO[bytes] | OpenedCopy, encryption: Encryption, digest: _Digest
    ) -> Iterator[IO[bytes]]:
        """The archive, decrypted, as a file that can be read twice."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file = cast("IO[bytes]", spooled)
            # A socket gives what has arrived, which may be less than the magic.
            whole = as_file(_bounded(source, self.limits, digest))
            start = whole.read(len(AGE_MAGIC))
            rest = itertools.chain([start], iter(lambda: whole.read(_BLOCK), b""))
            if is_encrypted(start):
                encryption.decrypt(as_file(rest), file)
            else:
                file.writelines(rest)
            file.seek(0)
            yield file

    def _check_tenant(self, manifest: Manifest, from_tenant: str | None) -> None:
        expected = self.repository.tenant if from_tenant is None else from_tenant
        if manifest.tenant != expected:
            raise ArchiveRefused(
                "The archive belongs to another tenant than the one it is imported for; name "
                "the tenant it comes from if that is meant.",
                context={"tenant": manifest.tenant},
            )

    def _same(self, connection: Any, manifest: Manifest) -> Backup | None:
        """The stored backup that the archive was written from, if it is here."""
        return next(
            (
                backup
                for backup in self.catalog.all(connection)
                if backup.id == manifest.id
                and backup.payload_sha256 == manifest.payload_sha256
                and backup.backup_status == "completed"
            ),
            None,
        )

    def _store(
        self, reader: ArchiveReader, progress: Progress | None, request: KeyedRequest | None
    ) -> tuple[str, bool]:
        """Store the chunks, then the row."""
        self.repository.head()  # the first use of a tenant creates it
        found, stored = self._contents(reader, progress)
        manifest = attrs.evolve(found, tenant=self.repository.tenant, backup_type=IMPORTED)

        def insert(connection: Connection) -> tuple[str, bool]:
            # The key before the chunks, as where a backup is made.
            earlier = None if request is None else claim(self._database, connection, request)
            if earlier is not None:
                return earlier.subject, True
            self.chunks.lock(connection)
            self._require_chunks(connection, manifest)
            taken = self._taken(connection, manifest.id)
            named = attrs.evolve(manifest, id=new_id()) if taken else manifest
            if request is not None:
                made(connection, request, named.id)
            self.catalog.insert(connection, Backup.of(named, stored), named)
            return named.id, False

        return self._database.transact(insert)

    def _contents(self, reader: ArchiveReader, progress: Progress | None) -> tuple[Manifest, int]:
        """Store the chunks batch by batch, so that writers never wait long.

        Returns:
            The manifest with the names of the chunks, and the bytes that were stored.
        """
        total, done, stored, size = reader.header.backup.size, 0, 0, 0
        sections = {section.name: section for section in reader.header.backup.sections}
        batch: dict[str, bytes] = {}
        for section, lines in reader.lines():
            names = []
            for piece in cut(admitted(section, lines)):
                names.append(piece.sha256)
                batch[piece.sha256] = piece.data
                done += len(piece.data)
                size += len(piece.data)
                if size >= _BATCH_BYTES:
                    stored += self._put(batch)
                    batch, size = {}, 0
                    if progress is not None:
                        progress(done, total)
            sections[section.name] = attrs.evolve(section, chunks=tuple(names))
        stored += self._put(batch)
        if progress is not None:
            progress(total, total)
        return attrs.evolve(reader.header.backup, sections=tuple(sections.values())), stored

    def _require_chunks(self, connection: Connection, manifest: Manifest) -> None:
        if len(self.chunks.present(connection, manifest.chunk_ids)) < len(manifest.chunk_ids):
            raise Busy("A rotation ran at the same time; import the archive again.")

    def _taken(self, connection: Any, backup_id: str) -> bool:
        return any(backup.id == backup_id for backup in self.catalog.all(connection))

    def _put(self, contents: dict[str, bytes]) -> int:
        packed: dict[str, Packed] = {name: pack(data) for name, data in contents.items()}

        def put(connection: Connection) -> int:
            self.chunks.lock(connection)
            present = self.chunks.present(connection, packed.keys())
            # An archive may be all that is left of a chunk that has rotted here.
            rotten = self.chunks.damaged(connection, present)
            self.chunks.replace(connection, {name: packed[name] for name in rotten})
            return self.chunks.put(
                connection, {name: item for name, item in packed.items() if name not in present}
            )

        return self._database.transact(put)


def _check_name(source: IO[bytes] | OpenedCopy, manifest: Manifest) -> None:
    """A file of a mirror holds what its name says."""
    if isinstance(source, OpenedCopy):
        source.copy.check(manifest, source.tenant)


def _check(reader: ArchiveReader) -> None:
    """Read all of an archive and every record in it, before anything is stored."""
    check_manifest(reader.header.backup)
    for section, lines in reader.lines():
        for _ in admitted(section, lines):
            pass


def _bounded(
    source: IO[bytes] | OpenedCopy, limits: ArchiveLimits, digest: _Digest
) -> Iterator[bytes]:
    """What a file holds, as long as it is not too large, and its digest."""
    size = 0
    while block := source.read(_BLOCK):
        size += len(block)
        if size > limits.compressed:
            raise PayloadTooLarge(f"The archive is larger than {limits.compressed >> 20} MiB.")
        digest.update(block)
        yield block


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when all of it is on the disk, or not at all.

    What is there under the name is replaced; a link stays, and so does a device or a pipe,
    which is written to as it is.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
