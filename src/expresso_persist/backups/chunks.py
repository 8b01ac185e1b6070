"""Content-addressed pieces of backups: what did not change is stored once, in two copies.

A section is cut after records whose *key* hashes to a boundary. Keys hardly ever change,
so a changed value replaces one chunk and an insertion shifts nothing but its own chunk.
A chunk is named by the SHA-256 of its bytes before compression. A chunk that replaces one
is stored as what differs from it (see :mod:`.packing`), so that a backup costs what
changed; the earlier chunk stays as long as another needs it.

Every chunk has two rows that do not depend on each other, each with the SHA-256 of what it
stores. Reading takes the one that is sound; a chunk is lost when both are damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.manifest import Line
from expresso_persist.backups.packing import Packed, unpack
from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.leases import lock_row
from expresso_persist.db.tables import backup_chunks
from expresso_persist.errors import BackupCorrupted

__all__ = ["MAX_DEPTH", "Chunk", "ChunkStore", "Inspection", "cut"]

# A difference costs some forty bytes besides what differs, which is why chunks are large.
MIN_SIZE = 16 * 1024
MAX_SIZE = 1024 * 1024
BOUNDARY_MASK = 0x3FF  # one key in 1,024 ends a chunk: 100 to 200 KiB of usual records

MAX_DEPTH = 64
"""Differences of differences, after which a chunk is stored whole again."""

COPIES = (0, 1)
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
    """A copy of a chunk.

    Attributes:
        base: Name of the chunk that is needed to read it.
        stored_sha256: Checksum of ``data``; None in rows of version 0.1.0.
        data: Its stored form.
    """

    base: str | None
    stored_sha256: bytes | None = None
    data: bytes = attrs.field(default=b"", repr=False)

    @property
    def sound(self) -> bool:
        """False when the stored bytes are known not to be those that were written."""
        return self.stored_sha256 is None or self.stored_sha256 == _digest(self.data)


@attrs.frozen
class _Seen:
    """What an inspection sees of a row: ``sound`` is None where there is no checksum yet."""

    copy: int | None
    base: str | None
    sound: bool | None


def _agree(copies: list[_Seen]) -> bool:
    """Whether they are what was written: all copies there are, sound, and based on the same."""
    return (
        len(copies) == len(COPIES)
        and {seen.copy for seen in copies} == {*COPIES}
        and all(seen.sound for seen in copies)
        and len({seen.base for seen in copies}) == 1
    )


_Rows = Mapping[str, list[_Row]]


@attrs.frozen
class Inspection:
    """What the rows of the chunks look like, judged by their stored checksums.

    Attributes:
        rows: How many rows there are.
        faulty: Names of chunks that do not have two sound copies that agree.
        unchecked: Those of them that version 0.1.0 stored, once and without a checksum.
        bases: For every chunk with a sound copy: what it is based on (None: nothing).
    """

    rows: int
    faulty: tuple[str, ...]
    unchecked: frozenset[str]
    bases: Mapping[str, frozenset[str | None]]

    def unreadable(self, ids: Iterable[str], known: dict[str, bool]) -> list[str]:
        """Those of ``ids`` that no sound rows lead to.

        Args:
            ids: Names of chunks.
            known: What earlier calls found out, for the next one.
        """
        return [name for name in ids if not self._readable(name, known)]

    def _readable(self, name: str, known: dict[str, bool]) -> bool:
        chain = [name]
        while chain:
            top = chain[-1]
            bases = self.bases.get(top, frozenset())
            open_ = [b for b in bases if b is not None and b not in known and b not in chain]
            if top in known:
                chain.pop()
            elif None in bases or any(known.get(base or "", False) for base in bases):
                known[top] = True
            elif open_:
                chain.append(open_[0])
            else:
                known[top] = False
        return known[name]


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
                    sa.select(backup_chunks.c.sha256)
                    .where(self._mine, backup_chunks.c.sha256.in_(batch))
                    .distinct()
                )
            )
        return found

    def put(self, connection: Connection, packed: Mapping[str, Packed]) -> int:
        """Store chunks that are not there yet; give back the bytes this took.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            packed: Stored forms by name; the chunks they are based on are stored already.
        """
        for copy in COPIES:  # one after the other, so that the copies do not lie side by side
            rows = [
                {
                    "tenant_id": self.tenant,
                    "sha256": sha256,
                    "copy": copy,
                    "base_sha256": chunk.base,
                    "stored_sha256": _digest(chunk.data),
                    "data": chunk.data,
                }
                for sha256, chunk in packed.items()
            ]
            for start in range(0, len(rows), _BATCH):
                connection.execute(sa.insert(backup_chunks), rows[start : start + _BATCH])
        return len(COPIES) * sum(len(chunk.data) for chunk in packed.values())

    def replace(self, connection: Connection, packed: Mapping[str, Packed]) -> None:
        """Write all copies of damaged chunks again, in a transaction as for :meth:`put`."""
        self._delete(connection, packed)
        self.put(connection, packed)

    def _delete(self, connection: Connection, ids: Iterable[str]) -> None:
        for name in ids:
            where = raw.named(backup_chunks.c.sha256, name)
            connection.execute(sa.delete(backup_chunks).where(self._mine, where))

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
        shallow = [name for name in ids if name in rows and len(_needed([name], rows)) < MAX_DEPTH]
        return self._unpacked(rows, shallow)[0]

    def inspect(self, connection: Connection) -> Inspection:
        """Compare every row with its checksum, and the copies of each chunk with each other.

        PostgreSQL computes the checksums itself, so that no contents travel.
        """
        table = backup_chunks
        here = connection.dialect.name == "postgresql"
        names = [table.c.sha256, table.c.copy, table.c.base_sha256]
        judged = (
            [table.c.stored_sha256 == sa.func.sha256(table.c.data)]
            if here
            else raw.columns(connection, [table.c.stored_sha256, table.c.data])
        )
        query = sa.select(*raw.columns(connection, names), *judged).where(self._mine)
        copies: dict[str, list[_Seen]] = {}
        for sha256, copy, base, *rest in connection.execute(query).yield_per(100):
            sound = rest[0] if here or rest[0] is None else rest[0] == _digest(rest[1])
            copies.setdefault(raw.name(sha256), []).append(
                _Seen(raw.integer(copy), raw.text(base), sound)
            )
        faulty = {name for name, found in copies.items() if not _agree(found)}
        return Inspection(
            rows=sum(map(len, copies.values())),
            faulty=tuple(sorted(faulty)),
            unchecked=frozenset(
                name for name in faulty if [seen.sound for seen in copies[name]] == [None]
            ),
            bases={
                name: frozenset(seen.base for seen in found if seen.sound is not False)
                for name, found in copies.items()
            },
        )

    def repack(
        self, connection: Connection, ids: Collection[str]
    ) -> tuple[dict[str, Packed], list[str]]:
        """The stored forms of chunks as they were written, from the copies that can be read.

        Returns:
            The stored forms by name, and the names of those of which no copy can be read.
        """
        reader = _Reader(self._rows(connection, ids))
        # Those that most others lead to first: what they are based on is read along the way.
        for name in sorted(ids, key=lambda name: -len(_needed([name], reader.rows))):
            if name not in reader.opened:
                with contextlib.suppress(BackupCorrupted):
                    reader.read(name)
        found = {name: reader.opened[name] for name in ids if name in reader.opened}
        packed = {name: Packed(row.data, row.base) for name, row in found.items()}
        return packed, sorted(set(ids) - found.keys())

    def _rows(self, connection: Connection, ids: Collection[str]) -> _Rows:
        """The rows of ``ids`` and of everything that they are based on."""
        table, rows = backup_chunks, dict[str, list[_Row]]()
        for batch in _batches(ids):
            chain = (
                sa.select(table.c.sha256, table.c.base_sha256)
                .where(self._mine, table.c.sha256.in_(batch))
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

    def _select(self, connection: Connection, *where: sa.ColumnElement[bool], data: bool) -> _Rows:
        """Rows by their names; what is damaged in one hides no other."""
        table = backup_chunks
        wanted = [table.c.sha256, table.c.base_sha256]
        if data:
            wanted += [table.c.stored_sha256, table.c.data]
        query = sa.select(*raw.columns(connection, wanted)).where(self._mine, *where)
        rows: dict[str, list[_Row]] = {}
        for sha256, base, *content in connection.execute(query.order_by(table.c.copy)):
            stored, packed = content if data else (None, b"")
            row = _Row(raw.text(base), None if stored is None else bytes(stored), bytes(packed))
            rows.setdefault(raw.name(sha256), []).append(row)
        return rows

    def _unpacked(self, rows: _Rows, ids: Iterable[str]) -> tuple[dict[str, bytes], dict[str, str]]:
        """Contents of ``ids``, and what is wrong with those that cannot be read."""
        contents: dict[str, bytes] = {}
        problems: dict[str, str] = {}
        reader = _Reader(rows)
        for name in ids:
            try:
                contents[name] = reader.read(name)
            except BackupCorrupted as error:
                problems[name] = error.message
        return contents, problems

    def collect(self, connection: Connection, referenced: Collection[str]) -> tuple[int, int]:
        """Remove the chunks that no backup refers to; give back their number and bytes.

        Args:
            connection: A write transaction that holds :meth:`lock`.
            referenced: The chunks of every backup that is left, read in this transaction.
                What any copy of those is based on stays as well.
        """
        rows = self._select(connection, data=False)
        garbage = rows.keys() - _needed(referenced, rows)
        before = self.stored_bytes(connection) if garbage else 0
        self._delete(connection, garbage)
        return len(garbage), before - self.stored_bytes(connection) if garbage else 0

    def stored_bytes(self, connection: Connection) -> int:
        """Bytes that all copies of all chunks take."""
        size = sa.func.coalesce(sa.func.sum(sa.func.length(backup_chunks.c.data)), 0)
        return int(connection.scalar(sa.select(size).where(self._mine)) or 0)

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return backup_chunks.c.tenant_id == self.tenant


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@attrs.define
class _Reader:
    """Reads chunks from the first copy of each that can be read.

    Attributes:
        rows: Their copies, and those of what they are based on.
        opened: The copies that were read.
        failed: What is wrong with chunks of which no copy can be read.
    """

    rows: _Rows
    opened: dict[str, _Row] = attrs.field(factory=dict)
    failed: dict[str, str] = attrs.field(factory=dict)

    def read(self, name: str, above: tuple[str, ...] = ()) -> bytes:
        """The contents of a chunk that is needed for those ``above``."""
        if name not in self.failed:
            self.failed[name] = f"Chunk {name[:12]} of the backup is missing."
            for row in self.rows.get(name, ()):
                try:
                    content = self._unpack(name, row, (*above, name))
                except BackupCorrupted as error:
                    self.failed[name] = error.message
                else:
                    del self.failed[name]
                    self.opened[name] = row
                    return content
        raise BackupCorrupted(self.failed[name])

    def _unpack(self, name: str, row: _Row, above: tuple[str, ...]) -> bytes:
        if not row.sound or row.base in above:
            raise BackupCorrupted(f"Chunk {name[:12]} of the backup is damaged.")
        return unpack(name, row.data, None if row.base is None else self.read(row.base, above))


def _needed(names: Iterable[str], rows: _Rows) -> set[str]:
    """Chunks, those they are based on, what those are based on, and so on."""
    needed: set[str] = set()
    more = set(names)
    while more:
        needed |= more
        more = {row.base for name in more for row in rows.get(name, ()) if row.base} - needed
    return needed


def _batches(ids: Iterable[str], size: int = _BATCH) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
