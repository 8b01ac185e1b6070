"""Content-addressed pieces of backups: what did not change is stored once.

A section is cut after records whose *key* hashes to a boundary. Keys hardly ever change,
so a changed value replaces one chunk and an insertion shifts nothing but its own chunk.
A chunk is named by the SHA-256 of its bytes before compression. A chunk that replaces one
is stored as what differs from it (see :mod:`.packing`), so that a backup costs what
changed; the earlier chunk stays as long as another needs it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups import raw
from expresso_persist.backups.packing import Packed, pack, unpack
from expresso_persist.backups.snapshot import Line
from expresso_persist.database import Database
from expresso_persist.errors import BackupCorrupted
from expresso_persist.leases import lock_row
from expresso_persist.tables import backup_chunks

__all__ = ["MAX_DEPTH", "Chunk", "ChunkStore", "cut"]

# A difference costs some forty bytes besides what differs, which is why chunks are large.
MIN_SIZE = 16 * 1024
MAX_SIZE = 1024 * 1024
BOUNDARY_MASK = 0x3FF  # one key in 1,024 ends a chunk: 100 to 200 KiB of usual records

MAX_DEPTH = 64
"""Differences of differences, after which a chunk is stored whole again."""

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


@attrs.frozen
class _Row:
    """A stored chunk."""

    size: int
    stored_size: int
    base_sha256: str | None
    data: bytes = attrs.field(default=b"", repr=False)


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

    def put(self, connection: Connection, packed: Mapping[str, Packed]) -> int:
        """Store chunks that are not there yet; give back the bytes this took.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            packed: Stored forms by name; the chunks they are based on are stored already.
        """
        now = self.database.now(connection)
        rows = [
            {
                "tenant_id": self.tenant,
                "sha256": sha256,
                "data": chunk.data,
                "size": chunk.size,
                "stored_size": len(chunk.data),
                "base_sha256": chunk.base,
                "created_at": now,
            }
            for sha256, chunk in packed.items()
        ]
        for start in range(0, len(rows), _BATCH):
            connection.execute(sa.insert(backup_chunks), rows[start : start + _BATCH])
        return sum(len(chunk.data) for chunk in packed.values())

    def replace(self, connection: Connection, sha256: str, content: bytes) -> None:
        """Write a damaged chunk anew, whole, from its known contents."""
        connection.execute(
            sa.delete(backup_chunks).where(
                backup_chunks.c.tenant_id == self.tenant, backup_chunks.c.sha256 == sha256
            )
        )
        self.put(connection, {sha256: pack(content)})

    def read(self, connection: Connection, ids: Collection[str]) -> dict[str, bytes]:
        """Read chunks and check every byte, also of those that they are based on.

        Raises:
            BackupCorrupted: One is missing or damaged; its name is in ``context["chunks"]``.
        """
        found, problems = self._unpacked(self._rows(connection, ids), ids)
        if problems:
            raise BackupCorrupted(
                f"{min(problems.values())} The backup cannot be used; choose another one.",
                context={"chunks": sorted(problems)},
            )
        return found

    def damaged(self, connection: Connection, ids: Collection[str]) -> list[str]:
        """Those of ``ids`` that are missing or cannot be read."""
        found: list[str] = []
        for batch in _batches(ids, 8):
            found += self._unpacked(self._rows(connection, batch), batch)[1]
        return found

    def bases(self, connection: Connection, ids: Collection[str]) -> dict[str, bytes]:
        """Those of ``ids`` that can be read and are not too deep to build on."""
        rows = self._rows(connection, ids)
        shallow = [name for name in ids if name in rows and len(_chain(name, rows)) < MAX_DEPTH]
        return self._unpacked(rows, shallow)[0]

    def _rows(self, connection: Connection, ids: Collection[str]) -> dict[str, _Row]:
        """The rows of ``ids`` and of everything that they are based on."""
        table, rows = backup_chunks, dict[str, _Row]()
        for batch in _batches(ids):
            chain = (
                sa.select(table.c.sha256, table.c.base_sha256)
                .where(table.c.tenant_id == self.tenant, table.c.sha256.in_(batch))
                .cte("chain", recursive=True)
            )
            earlier = table.alias("earlier")
            # UNION, not UNION ALL: a circle, which only damage can make, has an end.
            chain = chain.union(
                sa.select(earlier.c.sha256, earlier.c.base_sha256).where(
                    earlier.c.tenant_id == self.tenant, earlier.c.sha256 == chain.c.base_sha256
                )
            )
            where = table.c.sha256.in_(sa.select(chain.c.sha256))
            rows.update(self._select(connection, where, data=True))
        return rows

    def _select(
        self, connection: Connection, *where: sa.ColumnElement[bool], data: bool
    ) -> dict[str, _Row]:
        """Rows by their names; what is damaged in one hides no other."""
        table = backup_chunks
        wanted = [table.c.sha256, table.c.size, table.c.stored_size, table.c.base_sha256]
        query = sa.select(*raw.columns(connection, wanted), *([table.c.data] if data else []))
        rows = {}
        for row in connection.execute(query.where(table.c.tenant_id == self.tenant, *where)):
            sha256, size, stored_size, base, *content = tuple(row)
            rows[raw.text(sha256) or ""] = _Row(
                size, stored_size, raw.text(base), *map(bytes, content)
            )
        return rows

    def _unpacked(
        self, rows: Mapping[str, _Row], ids: Iterable[str]
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """Contents of ``ids``, and what is wrong with those that cannot be read."""
        contents: dict[str, bytes] = {}
        problems: dict[str, str] = {}
        for name in ids:
            try:
                contents[name] = _content(name, rows)
            except BackupCorrupted as error:
                problems[name] = error.message
        return contents, problems

    def collect(self, connection: Connection, referenced: Collection[str]) -> tuple[int, int]:
        """Remove the chunks that no backup refers to; give back their number and bytes.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            referenced: The chunks of every backup that is left, read in this transaction.
                What those are based on stays as well.
        """
        rows = self._select(connection, data=False)
        needed: set[str] = set()
        for name in referenced:
            needed.update(_chain(name, rows))
        garbage = rows.keys() - needed
        for batch in _batches(garbage):
            connection.execute(
                sa.delete(backup_chunks).where(
                    backup_chunks.c.tenant_id == self.tenant, backup_chunks.c.sha256.in_(batch)
                )
            )
        return len(garbage), sum(rows[sha256].stored_size for sha256 in garbage)

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


def _content(wanted: str, rows: Mapping[str, _Row]) -> bytes:
    """Read a chunk from the whole one at the end of its chain; one at a time is held."""
    content: bytes | None = None
    for name in reversed(_chain(wanted, rows)):
        row = rows.get(name)
        if row is None:
            raise BackupCorrupted(f"Chunk {name[:12]} of the backup is missing.")
        content = unpack(name, row.data, row.size, row.stored_size, content)
    assert content is not None  # a chain has the chunk itself in it
    return content


def _chain(name: str, rows: Mapping[str, _Row]) -> list[str]:
    """A chunk, the one it is based on, the one that is based on, and so on."""
    chain = [name]
    while (row := rows.get(chain[-1])) is not None and row.base_sha256 is not None:
        if row.base_sha256 in chain:
            break  # only damage can make a circle
        chain.append(row.base_sha256)
    return chain


def _batches(ids: Iterable[str], size: int = _BATCH) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
