"""Content-addressed pieces of backups: what did not change is stored once.

A section is cut after records whose *key* hashes to a boundary. Keys hardly ever change,
so a changed value replaces one chunk and an insertion shifts nothing but its own chunk.
A chunk is named by the SHA-256 of its bytes before compression. Stored form: one byte for
the encoding (1: zstd), four bytes CRC-32 of what follows, and the zstd frame. The CRC
finds flips in the few bits of a frame that a decoder ignores.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
import sqlalchemy as sa
import zstandard
from sqlalchemy.engine import Connection

from expresso_persist.backups.lease import lock_row
from expresso_persist.backups.snapshot import Line
from expresso_persist.database import Database
from expresso_persist.errors import BackupCorrupted
from expresso_persist.tables import backup_chunks

__all__ = ["Chunk", "ChunkStore", "cut", "pack", "unpack"]

MIN_SIZE = 4 * 1024
MAX_SIZE = 256 * 1024
BOUNDARY_MASK = 0x7F  # one key in 128 ends a chunk: 16 to 32 KiB of usual records

_ZSTD = 1
_HEADER = 5
_BATCH = 500  # bound parameters per statement, below every database's limit


@attrs.frozen
class Chunk:
    """A piece of a section and its name."""

    sha256: str
    data: bytes = attrs.field(repr=False)


def cut(lines: Iterable[Line]) -> Iterator[Chunk]:
    """Cut lines into chunks; the same lines always give the same chunks."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line.data)
        size += len(line.data)
        at_boundary = not zlib.crc32(line.key) & BOUNDARY_MASK
        if size >= MAX_SIZE or (at_boundary and size >= MIN_SIZE):
            yield _chunk(pending)
            pending, size = [], 0
    if pending:
        yield _chunk(pending)


def _chunk(pieces: list[bytes]) -> Chunk:
    data = b"".join(pieces)
    return Chunk(hashlib.sha256(data).hexdigest(), data)


def pack(data: bytes) -> bytes:
    """The stored form of a chunk's bytes."""
    frame = zstandard.ZstdCompressor(level=6, write_checksum=True).compress(data)
    return bytes([_ZSTD]) + zlib.crc32(frame).to_bytes(4, "big") + frame


def unpack(sha256: str, stored: bytes, size: int, stored_size: int | None = None) -> bytes:
    """Give back a chunk's bytes, after checking every one of them.

    Args:
        sha256: Its name.
        stored: What :func:`pack` wrote.
        size: How many bytes it has.
        stored_size: How many bytes ``stored`` had when it was written.

    Raises:
        BackupCorrupted: They are not what was stored.
    """
    name = f"Chunk {sha256[:12]}"
    frame = stored[_HEADER:]
    if (
        len(stored) < _HEADER
        or len(stored) != (len(stored) if stored_size is None else stored_size)
        or stored[0] != _ZSTD
        or zlib.crc32(frame) != int.from_bytes(stored[1:_HEADER], "big")
    ):
        raise BackupCorrupted(f"{name} of the backup is damaged.")
    try:
        # The size is checked before anything is expanded: a bomb cannot go off.
        if zstandard.get_frame_parameters(frame).content_size != size:
            raise BackupCorrupted(f"{name} of the backup does not have the size it should.")
        data = zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise BackupCorrupted(f"{name} of the backup cannot be decompressed.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BackupCorrupted(f"{name} of the backup does not match its checksum.")
    return data


@attrs.frozen
class ChunkStore:
    """The chunks of one tenant.

    Putting and collecting happen in transactions that hold the same lock (see
    :meth:`lock`), so a chunk that a new backup counts on cannot be collected meanwhile.
    """

    database: Database
    tenant: str

    def lock(self, connection: Connection) -> None:
        """Be the only one that adds or removes chunks until the transaction ends."""
        lock_row(self.database, connection, self.tenant, "backup-chunks")

    def present(self, connection: Connection, ids: Collection[str]) -> set[str]:
        """Which of ``ids`` are stored."""
        found: set[str] = set()
        for batch in _batches(ids):
            found.update(
                connection.scalars(
                    sa.select(backup_chunks.c.sha256).where(
                        backup_chunks.c.tenant_id == self.tenant,
                        backup_chunks.c.sha256.in_(batch),
                    )
                )
            )
        return found

    def put(self, connection: Connection, packed: Mapping[str, tuple[int, bytes]]) -> int:
        """Store chunks that are not there yet; give back the bytes this took.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            packed: Per name the size before compression and the stored form.
        """
        now = self.database.now(connection)
        rows = [
            {
                "tenant_id": self.tenant,
                "sha256": sha256,
                "data": data,
                "size": size,
                "stored_size": len(data),
                "created_at": now,
            }
            for sha256, (size, data) in packed.items()
        ]
        for start in range(0, len(rows), _BATCH):
            connection.execute(sa.insert(backup_chunks), rows[start : start + _BATCH])
        return sum(len(data) for _, data in packed.values())

    def replace(self, connection: Connection, sha256: str, data: bytes) -> None:
        """Write a damaged chunk anew from its known contents."""
        connection.execute(
            sa.delete(backup_chunks).where(
                backup_chunks.c.tenant_id == self.tenant, backup_chunks.c.sha256 == sha256
            )
        )
        self.put(connection, {sha256: (len(data), pack(data))})

    def read(self, connection: Connection, ids: Collection[str]) -> dict[str, bytes]:
        """Read chunks and check every byte.

        Raises:
            BackupCorrupted: One is missing or damaged; its name is in ``context["chunks"]``.
        """
        chunks: dict[str, bytes] = {}
        problems: dict[str, str] = {}
        for batch in _batches(ids):
            rows = connection.execute(
                sa.select(
                    backup_chunks.c.sha256,
                    backup_chunks.c.data,
                    backup_chunks.c.size,
                    backup_chunks.c.stored_size,
                ).where(backup_chunks.c.tenant_id == self.tenant, backup_chunks.c.sha256.in_(batch))
            )
            for sha256, data, size, stored_size in rows:
                try:
                    chunks[sha256] = unpack(sha256, bytes(data), size, stored_size)
                except BackupCorrupted as error:
                    problems[sha256] = error.message
        for missing in set(ids) - chunks.keys() - problems.keys():
            problems[missing] = f"Chunk {missing[:12]} of the backup is missing."
        if problems:
            raise BackupCorrupted(
                f"{min(problems.values())} The backup cannot be used; choose another one.",
                context={"chunks": sorted(problems)},
            )
        return chunks

    def collect(self, connection: Connection, referenced: Collection[str]) -> tuple[int, int]:
        """Remove the chunks that no backup refers to; give back their number and bytes.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            referenced: The chunks of every backup that is left, read in this transaction.
        """
        rows = connection.execute(
            sa.select(backup_chunks.c.sha256, backup_chunks.c.stored_size).where(
                backup_chunks.c.tenant_id == self.tenant
            )
        )
        stored = {sha256: int(size) for sha256, size in rows}
        garbage = stored.keys() - set(referenced)
        for batch in _batches(garbage):
            connection.execute(
                sa.delete(backup_chunks).where(
                    backup_chunks.c.tenant_id == self.tenant, backup_chunks.c.sha256.in_(batch)
                )
            )
        return len(garbage), sum(stored[sha256] for sha256 in garbage)

    def stored_bytes(self, connection: Connection) -> int:
        """Bytes that all chunks take."""
        return int(
            connection.scalar(
                sa.select(sa.func.coalesce(sa.func.sum(backup_chunks.c.stored_size), 0)).where(
                    backup_chunks.c.tenant_id == self.tenant
                )
            )
            or 0
        )


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
