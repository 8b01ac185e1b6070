"""The proof that a backup restores: its state is rebuilt in another database and read back."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.contents import check_host_rows, pieces
from expresso_persist.backups.manifest import Manifest
from expresso_persist.backups.snapshot import decode_records, record_line
from expresso_persist.commits.state import record_row
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, metadata
from expresso_persist.errors import BackupCorrupted, ExpressoPersistError
from expresso_persist.model.records import RECORD_TYPES, Record

__all__ = ["rebuild"]

_IN_MEMORY = 64 * 1024**2  # bytes of a state up to which the scratch database needs no file
_NOW = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # rows have times; a rebuilt state's are nobody's


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
