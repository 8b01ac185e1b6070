"""Backups out of the database as archives, and archives into it as backups."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.admission import admitted, check_manifest
from expresso_persist.backups.archive import (
    AGE_MAGIC,
    ArchiveLimits,
    ArchiveReader,
    as_file,
    write_archive,
)
from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore, cut
from expresso_persist.backups.contents import load, pieces
from expresso_persist.backups.encryption import Encryption, is_encrypted
from expresso_persist.backups.manifest import IMPORTED, Manifest, Section, new_id
from expresso_persist.backups.mirrors import OpenedCopy
from expresso_persist.backups.packing import Packed, pack
from expresso_persist.backups.snapshot import checked
from expresso_persist.commits.idempotency import KeyedRequest, claim, find, made
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db.database import Database
from expresso_persist.errors import ArchiveRefused, Busy, PayloadTooLarge

__all__ = ["Progress", "Transfer", "whole_file"]

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
        target: IO[bytes],
        encryption: Encryption,
        progress: Progress | None = None,
    ) -> Backup:
        """Write a backup as an archive; one chunk at a time is held in memory.

        Args:
            backup_id: The backup.
            target: A binary file to write to.
            encryption: For whom to encrypt it, if for anybody.
            progress: Called with the bytes before compression that are written, and all.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged; what was written is no archive.
        """
        with self._database.read() as connection:
            backup, manifest = load(connection, self.catalog, backup_id)
            done = 0

            def contents(section: Section) -> Iterator[bytes]:
                nonlocal done
                for piece in checked(section, pieces(connection, self.chunks, section)):
                    yield piece
                    done += len(piece)
                    if progress is not None:
                        progress(done, manifest.size)

            archive = write_archive(manifest, contents)
            if encryption.encrypts:
                encryption.encrypt(as_file(archive), target)
            else:
                target.writelines(archive)
        return backup

    def import_(
        self,
        source: IO[bytes] | OpenedCopy,
        encryption: Encryption,
        *,
        from_tenant: str | None = None,
        progress: Progress | None = None,
        keyed: Callable[[str], KeyedRequest | None] = lambda _: None,
    ) -> tuple[str, bool, KeyedRequest | None]:
        """Store an archive as a backup, after every byte of it was checked.

        Args:
            source: A binary file, read from where it stands to its end, or a mirror's copy.
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
