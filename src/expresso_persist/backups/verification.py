"""Checking backups, and noting in their rows what was found."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.contents import load
from expresso_persist.backups.scratch import rebuild
from expresso_persist.database import Database
from expresso_persist.errors import BackupCorrupted

__all__ = ["Verification", "Verifier"]

_COVERED = "read back, checksums compared, rebuilt in a scratch database"


@attrs.frozen
class Verification:
    """What a check of one backup found.

    Attributes:
        backup_id: The backup.
        ok: It restores to the state that it was made from.
        problems: What is wrong with it, a sentence each.
        damaged_chunks: Names of chunks that are missing or changed.
        repaired: How many of those were written anew from the live state.
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

    def verify(self, backup_id: str, contents: Mapping[str, bytes] | None = None) -> Verification:
        """Check one backup.

        Args:
            backup_id: The backup.
            contents: Bytes of chunks, known from the state it was just made of. A part
                shared with older backups that has rotted is written anew from them, which
                mends the older backups as well.
        """
        result = self._check(backup_id)
        damaged = result.damaged_chunks
        if damaged and contents is not None and set(damaged) <= contents.keys():
            known = contents

            def mend(connection: Connection) -> None:
                self.chunks.lock(connection)
                for sha256 in damaged:
                    self.chunks.replace(connection, sha256, known[sha256])

            self.database.transact(mend)
            result = attrs.evolve(self._check(backup_id), repaired=len(damaged))
            self._note(result)
            self._verify_failed_ones()
        else:
            self._note(result)
        return result

    def _verify_failed_ones(self) -> None:
        with self.database.read() as connection:
            backups = self.catalog.all(connection)
        for backup in backups:
            if backup.backup_status == "failed" and backup.payload_sha256:
                self._note(self._check(backup.id))

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

    def _note(self, result: Verification) -> None:
        def note(connection: Connection) -> None:
            if result.ok:
                mended = f"; {result.repaired} damaged chunks written anew" * bool(result.repaired)
                self.catalog.update(
                    connection,
                    result.backup_id,
                    verified_at=self.database.now(connection),
                    verification=_COVERED + mended,
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

        self.database.transact(note)
