"""Copies every verified backup to the mirrors: one process at a time, again after failures.

A row of ``backup_mirrors`` says how each mirror is doing, so that every process can tell, and
when to look next, so that failures are not repeated faster by many processes. What a mirror
holds is never taken from that row.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, Self, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog, iso
from expresso_persist.backups.lookout import Seen, lookout
from expresso_persist.backups.manifest import IMPORTED
from expresso_persist.backups.mirror_plan import plan_sync
from expresso_persist.backups.mirrors import (
    Copy,
    Folder,
    Mirror,
    OpenedCopy,
    copy_name,
    newest_ahead,
    told,
)
from expresso_persist.backups.restore import RESTORE, restored_note
from expresso_persist.backups.scheduler import Scheduler, describe
from expresso_persist.backups.transfer import Transfer
from expresso_persist.commits.state import read_head
from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import backup_mirrors, commits
from expresso_persist.errors import (
    ArchiveRefused,
    BackupCorrupted,
    BackupNotFound,
    Busy,
    ExpressoPersistError,
    InvalidConfiguration,
)

__all__ = ["Mirroring", "Synced"]

logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_LEASE_SECONDS = 120.0
_LOOK_AGAIN = dt.timedelta(hours=1)  # somebody may have removed copies there
_FIRST_RETRY = dt.timedelta(seconds=10)
_ABANDONED = dt.timedelta(days=7)
_IN_MEMORY = 8 * 1024**2


@attrs.frozen
class Synced:
    """What was done for one mirror.

    Attributes:
        mirror: Its name.
        copied: Ids of the backups that were copied.
        deleted: Ids of the copies that its rotation removed.
        error: What went wrong; what was copied before that stays.
        busy: Another process is at it; nothing was done.
    """

    mirror: str
    copied: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    error: str | None = None
    busy: bool = False


class Mirroring:
    """The mirrors of one tenant's backups."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        transfer: Transfer,
        mirrors: Sequence[Mirror],
        *,
        interval: float,
        damaged: Callable[[str], object],
    ) -> None:
        """Look after mirrors; nothing runs yet.

        Args:
            database: Where the backups are.
            catalog: Their rows.
            transfer: Writes archives.
            mirrors: Where to copy to.
            interval: Seconds between automatic backups.
            damaged: Called with the id of a backup that cannot be read.
        """
        names = [mirror.name for mirror in mirrors]
        if len(set(names)) < len(names):
            raise InvalidConfiguration("Two mirrors have the same place.")
        self.mirrors: tuple[Mirror, ...] = tuple(mirrors)
        self._database = database
        self._catalog = catalog
        self._transfer = transfer
        self._damaged = damaged
        self._tried: set[str] = set()  # damaged backups that no mirror could mend
        self._poll = min(30.0, interval / 4)
        # One thread for each: one that hangs must not hold the others up.
        self._schedulers = [
            Scheduler(
                functools.partial(self._tick, mirror),
                interval=self._poll,
                on_error=lambda _error: None,
                what=f"Copying to the mirror {mirror.name}",
            )
            for mirror in self.mirrors
        ]

    def start(self) -> None:
        """Copy in background threads from now on."""
        for scheduler in self._schedulers:
            scheduler.start()

    def stop(self, grace: float) -> None:
        """Stop the threads, each after what it is doing."""
        ends = time.monotonic() + grace
        for scheduler in self._schedulers:
            scheduler.ask_to_stop()
        for scheduler in self._schedulers:
            scheduler.stop(max(0.0, ends - time.monotonic()))

    def sync(self) -> list[Synced]:
        """Make every mirror complete now, whatever failed before."""
        return [self._sync(mirror) for mirror in self.mirrors]

    def sync_due(self) -> list[Synced]:
        """Make those mirrors complete that lack something and are not to be left in peace."""
        return [self._sync(mirror) for mirror in self.mirrors if self._is_due(mirror)]

    def look(self) -> dict[str, Seen]:
        """Look at those mirrors of which the database has no word that counts.

        Asked outside a transaction: it takes time, and where mirrors hang seconds.
        """
        if not self.mirrors:
            return {}
        with self._database.read() as connection:
            now = self._database.now(connection)
            rows = self._rows(connection)
        return {
            mirror.name: lookout(self._database, mirror, self._catalog.tenant).look()
            for mirror in self.mirrors
            if _unknown(rows.get(mirror.name), now)
        }

    def status(self, connection: Connection, seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
        """How each mirror is doing, those of other processes included.

        Args:
            connection: A transaction.
            seen: What :meth:`look` found before it.
        """
        now = self._database.now(connection)
        rows = self._rows(connection)
        # One that no process has looked after for long is a mirror no more.
        watched = {
            name for name, row in rows.items() if row.next_at and now - row.next_at <= _ABANDONED
        }
        watched.update(mirror.name for mirror in self.mirrors)
        backups = self._verified(connection)
        ahead = self._ahead(connection, seen)
        found = [_describe(name, rows.get(name), backups, now) for name in sorted(watched)]
        for mirror in found:
            name = mirror["mirror"]
            if name in seen and not mirror["failures"]:
                noted = mirror["last_error"] if seen[name].error else None
                mirror["last_error"] = ahead.get(name) or noted or seen[name].error
        return found

    def _ahead(self, connection: Connection, seen: Mapping[str, Seen]) -> dict[str, str]:
        """A sentence for each mirror that was seen to have a newer state than the database."""
        found = {}
        for mirror in self.mirrors:
            copies = seen[mirror.name].copies if mirror.name in seen else ()
            copy = self._newest_ahead(connection, copies)
            if copy is not None:
                found[mirror.name] = told(mirror, copy, self._catalog.tenant)
        return found

    def _newest_ahead(self, connection: Connection, copies: Iterable[Copy]) -> Copy | None:
        """The copy of a state that this database neither came to nor was restored to."""
        head = read_head(connection, self._catalog.tenant)
        copy = newest_ahead(copies, 0 if head is None else head.revision)
        if copy is None or copy.revision <= self._restored(connection):
            return None
        return copy

    def _restored(self, connection: Connection) -> int:
        """The highest revision of a backup of another database that was restored here."""
        notes = connection.scalars(
            sa.select(commits.c.note).where(
                commits.c.tenant_id == self._catalog.tenant, commits.c.source == RESTORE
            )
        )
        restored = {*notes}
        return max(
            (
                backup.revision
                for backup in self._catalog.all(connection)
                if backup.backup_type == IMPORTED and restored_note(backup.id) in restored
            ),
            default=0,
        )

    def _tick(self, mirror: Mirror) -> float:
        if self._is_due(mirror):
            self._sync(mirror)
        return self._poll

    def _is_due(self, mirror: Mirror) -> bool:
        with self._database.read() as connection:
            now = self._database.now(connection)
            row = self._rows(connection).get(mirror.name)
            if row is None or row.next_at is None or not now <= row.next_at <= now + _LOOK_AGAIN:
                return True  # in its time, or the clock went back
            if {backup.id for backup in self._catalog.damaged(connection)} - self._tried:
                return True  # it may have a copy
            newest = next(iter(self._verified(connection)), None)
            return row.failures == 0 and newest is not None and newest.id != row.newest_id

    def _sync(self, mirror: Mirror) -> Synced:
        lease = Lease(
            self._database, self._catalog.tenant, _LEASE_SECONDS, name=f"mirror {mirror.name}"
        )
        if not lease.acquire():
            return Synced(mirror.name, busy=True)
        copied: list[str] = []
        try:
            with self._database.read() as connection:
                here = self._verified(connection)
                now = self._database.now(connection)
                head = read_head(connection, self._catalog.tenant)
            revision = 0 if head is None else head.revision
            with mirror.reached(self._catalog.tenant) as folder:
                folder.tidy()
                here = self._mend(mirror, folder) or here
                before = folder.copies()
                # What this database lacks is not removed: it may be all that is left of it.
                lost = [copy.id for copy in before if copy.revision > revision]
                plan = plan_sync(here, before, mirror.rotation, now, keep=lost)
                beat = _Beat(lease)
                for backup in plan.copy:
                    beat()
                    if self._copy(mirror, folder, backup, beat):
                        copied.append(backup.id)
                for copy in plan.delete:
                    beat()
                    folder.delete(copy)
                there = folder.copies()
            with self._database.read() as connection:
                ahead = self._newest_ahead(connection, there)
        except Busy as error:  # another process took over
            return Synced(mirror.name, tuple(copied), error=describe(error), busy=True)
        except ExpressoPersistError as error:
            self._note_failure(mirror, describe(error))
            return Synced(mirror.name, tuple(copied), error=describe(error))
        finally:
            lease.release()
        self._note_success(mirror, here[0] if here else None, there, ahead)
        return Synced(mirror.name, tuple(copied), tuple(copy.id for copy in plan.delete))

    def _mend(self, mirror: Mirror, folder: Folder) -> list[Backup]:
        """Write damaged backups again from their copies; the verified ones if any was."""
        with self._database.read() as connection:
            damaged = {backup.id for backup in self._catalog.damaged(connection)}
        self._tried = damaged
        found = [copy for copy in folder.copies() if copy.id in damaged]
        for copy in found:
            try:
                with folder.open(copy) as file:
                    opened = OpenedCopy(file, copy, self._catalog.tenant)
                    self._transfer.mend(opened, mirror.encryption)
            except (ArchiveRefused, BackupNotFound, Busy) as error:
                logger.warning("%s", describe(error))
            else:
                self._damaged(copy.id)  # looks at it again
        with self._database.read() as connection:
            return self._verified(connection) if found else []

    def _copy(
        self, mirror: Mirror, folder: Folder, backup: Backup, beat: Callable[[], object]
    ) -> bool:
        """Copy one backup; tell whether it is there now."""
        # Written here first: a mirror that hangs must not keep a transaction open.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file = cast("IO[bytes]", spooled)
            try:
                self._transfer.export(backup.id, file, mirror.encryption)
            except BackupNotFound:
                return False  # rotated away meanwhile
            except BackupCorrupted:
                self._damaged(backup.id)  # the others are copied all the same
                return False
            file.seek(0)
            folder.put(copy_name(backup, encrypted=mirror.encryption.encrypts), file, beat)
        return True

    def _verified(self, connection: Connection) -> list[Backup]:
        """The backups that belong on a mirror, newest first."""
        return [
            backup
            for backup in self._catalog.all(connection)
            if backup.backup_status == "completed" and backup.verified_at is not None
        ]

    def _rows(self, connection: Connection) -> dict[str, _Row]:
        """How each mirror is doing; a row that is damaged hides no other."""
        columns = raw.columns(connection, [backup_mirrors.c[name] for name in _Row.columns()])
        mine = backup_mirrors.c.tenant_id == self._catalog.tenant
        rows = (_Row.read(row) for row in connection.execute(sa.select(*columns).where(mine)))
        return {row.mirror: row for row in rows}

    def behind(self, connection: Connection, seen: Mapping[str, Seen]) -> list[str]:
        """What mirrors have of a newer state than the database: a sentence for each.

        Args:
            connection: A transaction.
            seen: What :meth:`look` found before it.
        """
        noted = {
            name: row.error
            for name, row in self._rows(connection).items()
            if row.error is not None and not row.failures and (name not in seen or seen[name].error)
        }
        return [*{**noted, **self._ahead(connection, seen)}.values()]

    def look_again(self) -> None:
        """After a restore, what mirrors have is to be judged again: nothing noted counts."""
        ours = backup_mirrors.c.tenant_id == self._catalog.tenant
        healthy = sa.and_(ours, backup_mirrors.c.failures == 0, backup_mirrors.c.error.is_not(None))

        def forget(connection: Connection) -> None:
            now = self._database.now(connection)
            connection.execute(
                sa.update(backup_mirrors).where(healthy).values(error=None, next_at=now)
            )

        self._database.transact(forget)

    def _note_success(
        self, mirror: Mirror, newest: Backup | None, there: list[Copy], ahead: Copy | None
    ) -> None:
        warning = None if ahead is None else told(mirror, ahead, self._catalog.tenant)
        if warning is not None:
            logger.warning("%s", warning)

        def note(connection: Connection) -> None:
            now = self._database.now(connection)
            self._note(
                connection,
                mirror,
                newest_id=None if newest is None else newest.id,
                newest_at=None if newest is None else newest.created_at,
                copies=len(there),
                stored_bytes=sum(copy.size for copy in there),
                checked_at=now,
                failures=0,
                error=warning,
                next_at=now + _LOOK_AGAIN,
            )

        self._database.transact(note)

    def _note_failure(self, mirror: Mirror, error: str) -> None:
        def note(connection: Connection) -> dt.timedelta:
            now = self._database.now(connection)
            row = self._rows(connection).get(mirror.name)
            failures = max(0, 0 if row is None else row.failures) + 1
            delay: dt.timedelta = min(_LOOK_AGAIN, _FIRST_RETRY * 2 ** min(failures - 1, 16))
            delay *= random.uniform(0.8, 1.0)  # noqa: S311 - spreads tries, no secret
            self._note(connection, mirror, failures=failures, error=error, next_at=now + delay)
            return delay

        delay = self._database.transact(note)
        logger.warning("%s Next try in %.0f s.", error, delay.total_seconds())

    def _note(self, connection: Connection, mirror: Mirror, **values: Any) -> None:
        self._database.insert_if_absent(
            connection,
            backup_mirrors,
            {
                "tenant_id": self._catalog.tenant,
                "mirror": mirror.name,
                "copies": 0,
                "stored_bytes": 0,
                "failures": 0,
                "next_at": values["next_at"],
            },
        )
        connection.execute(
            sa.update(backup_mirrors)
            .where(
                backup_mirrors.c.tenant_id == self._catalog.tenant,
                backup_mirrors.c.mirror == mirror.name,
            )
            .values(**values)
        )


@attrs.frozen
class _Row:
    """What is known about a mirror, as far as it can be read."""

    mirror: str
    newest_id: str | None
    copies: int
    stored_bytes: int
    checked_at: dt.datetime | None
    failures: int
    error: str | None
    next_at: dt.datetime | None

    @classmethod
    def columns(cls) -> list[str]:
        return [field.name for field in attrs.fields(cls)]

    @classmethod
    def read(cls, row: sa.Row[Any]) -> Self:
        return cls(
            mirror=raw.text(row.mirror) or "",
            newest_id=raw.text(row.newest_id),
            copies=raw.integer(row.copies) or 0,
            stored_bytes=raw.integer(row.stored_bytes) or 0,
            checked_at=raw.time(row.checked_at),
            failures=raw.integer(row.failures) or 0,
            error=raw.text(row.error),
            next_at=raw.time(row.next_at),
        )


def _unknown(row: _Row | None, now: dt.datetime) -> bool:
    """Whether no process has looked at a mirror yet, or not when it was time to."""
    if row is None or row.next_at is None:
        return True
    return not row.failures and (row.checked_at is None or row.next_at <= now)


class _Beat:
    """Renews a lease while work goes on, now and then."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._next = 0.0

    def __call__(self) -> None:
        """Raise Busy when somebody took the lease over."""
        if time.monotonic() < self._next:
            return
        if not self._lease.acquire():
            raise Busy("Another process took the copying over, because this one was too slow.")
        self._next = time.monotonic() + self._lease.ttl.total_seconds() / 4


def _describe(
    name: str, row: _Row | None, backups: list[Backup], now: dt.datetime
) -> dict[str, Any]:
    # Newest first by revision: what comes before the newest that is there is lacking.
    complete = None if row is None else row.newest_id
    ids = [backup.id for backup in backups]
    lacking = backups[: ids.index(complete)] if complete in ids else backups
    lag = max(0.0, *((now - backup.created_at).total_seconds() for backup in lacking), 0.0)
    failures = 0 if row is None else row.failures
    return {
        "mirror": name,
        "copies": 0 if row is None else row.copies,
        "stored_bytes": 0 if row is None else row.stored_bytes,
        "last_success_at": None if row is None else iso(row.checked_at),
        "lag_seconds": lag,
        "failures": failures,
        "last_error": None if row is None else row.error,
        "next_try_at": iso(row.next_at) if row is not None and failures else None,
    }
