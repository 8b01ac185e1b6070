"""Backups that are made at most once, however often the request for one is sent."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import msgspec
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup
from expresso_persist.commits import idempotency
from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.db.database import Database
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model import json_text

__all__ = ["Keyed", "Made"]


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
            return Made(_read(known.answer), replayed=True)
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
        return Made(backup) if first else Made(_read(kept), replayed=True)

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


def _read(answer: str) -> Backup:
    return msgspec.json.decode(answer, type=Backup)
