"""Checking backups, and noting in their rows what was found."""

from __future__ import annotations

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.contents import load
from expresso_persist.backups.scratch import rebuild
from expresso_persist.db.database import Database
from expresso_persist.errors import BackupCorrupted

__all__ = ["Verification", "Verifier"]

_COVERED = "read back and rebuilt in a scratch database"


@attrs.frozen
class Verification:
    """What a check of one backup found.

    Attributes:
        backup_id: The backup.
        ok: It restores to the state that it was made from.
        problems: What is wrong with it, a sentence each.
        damaged_chunks: Names of chunks that are missing or changed.
        repaired: How many damaged pieces and rows of all backups were written again before
            it was read.
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

    def verify(self, backup_id: str) -> Verification:
        """Check one backup, and note the result in its row."""
        result = self._check(backup_id)
        self.note(result)
        return result

    def _check(self, backup_id: str) -> Verification:
        try:
            with self.database.read() as connection:
                _, manifest = load(connection, self.catalog, backup_id)
                try:
                    rebuild(connection, self.chunks, manifest)
                except BackupCorrupted as error:
                    return Verification(
                        backup_id,
                        ok=False,
                        problems=(error.message,),
                        damaged_chunks=tuple(self.chunks.damaged(connection, manifest.chunk_ids)),
                    )
        except BackupCorrupted as error:
            return Verification(backup_id, ok=False, problems=(error.message,))
        return Verification(backup_id, ok=True)

    def note(self, result: Verification) -> None:
        """Write into the backup's row what a check found."""

        def write(connection: Connection) -> None:
            if result.ok:
                self.catalog.update(
                    connection,
                    result.backup_id,
                    verified_at=self.database.now(connection),
                    verification=_COVERED,
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

        self.database.transact(write)
