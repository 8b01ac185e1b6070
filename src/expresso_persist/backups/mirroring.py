"""Copies every verified backup to the mirrors: one process at a time, again after failures.

A row of ``backup_mirrors`` says how each mirror is doing, so that every process can tell, and
when to look next, so that failures are not repeated faster by many processes. What a mirror
holds is never taken from that row.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.manifest import IMPORTED
from expresso_persist.backups.mirror_status import (
    MirrorRows,
    Seen,
    lookout,
    newest_ahead,
    what_is_there,
)
from expresso_persist.backups.mirror_status import describe as describe_mirror
from expresso_persist.backups.mirrors import (
    Copy,
    Folder,
    Mirror,
    OpenedCopy,
    copy_name,
)
from expresso_persist.backups.restore import RESTORE, restored_note
from expresso_persist.backups.rotation import plan_sync
from expresso_persist.backups.scheduler import Scheduler, describe
from expresso_persist.backups.transfer import Transfer
from expresso_persist.commits.state import read_head
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import commits
from expresso_persist.errors import (
    ArchiveRefused,
    BackupCorrupted,
    BackupNotFound,
    Busy,
    ExpressoPersistError,
    InvalidConfiguration,
)
from expresso_persist.model.records import Head

__all__ = ["Mirroring", "Synced"]

logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_LEASE_SECONDS = 120.0
_ABANDONED = dt.timedelta(days=7)
_IN_MEMORY = 8 * 1024**2
_NOTHING = Head("", 0, "")  # of a tenant that was never written to


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
        self._rows = MirrorRows(database, catalog.tenant)
        self._read_at: dict[str, float] = {}  # when a copy was last read, by its name
        self._epochs: dict[str, str | None] = {}  # by name, of those whose name does not say
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
            rows = self._rows.read(connection)
        return {
            mirror.name: lookout(self._database, mirror, self._catalog.tenant).look()
            for mirror in self.mirrors
            if (row := rows.get(mirror.name)) is None or not row.is_known(now)
        }

    def status(self, connection: Connection, seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
        """How each mirror is doing, those of other processes included.

        Args:
            connection: A transaction.
            seen: What :meth:`look` found before it.
        """
        now = self._database.now(connection)
        rows = self._rows.read(connection)
        # One that no process has looked after for long is a mirror no more.
        watched = {
            name for name, row in rows.items() if row.next_at and now - row.next_at <= _ABANDONED
        }
        watched.update(mirror.name for mirror in self.mirrors)
        backups = self._verified(connection)
        ahead = self._ahead(connection, seen)
        found = [describe_mirror(name, rows.get(name), backups, now) for name in sorted(watched)]
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
            warning = self._warning(connection, mirror, copies)
            if warning is not None:
                found[mirror.name] = warning
        return found

    def _warning(
        self, connection: Connection, mirror: Mirror, copies: Iterable[Copy]
    ) -> str | None:
        """A sentence about a copy of what this database neither came to nor was restored to."""
        head = read_head(connection, self._catalog.tenant) or _NOTHING
        copy = newest_ahead(copies, head.revision, head.epoch)
        if copy is None or copy.revision <= self._restored(connection):
            return None
        return what_is_there(mirror, copy, self._catalog.tenant, head.epoch)

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
            row = self._rows.read(connection).get(mirror.name)
            if row is None or row.is_due(now):
                return True
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
        written: set[str] = set()
        try:
            with self._database.read() as connection:
                here = self._verified(connection)
                now = self._database.now(connection)
                head = read_head(connection, self._catalog.tenant) or _NOTHING
                known = {backup.id for backup in self._catalog.all(connection)}
            with mirror.reached(self._catalog.tenant) as folder:
                folder.tidy()
                here = self._mend(mirror, folder) or here
                # What another database left is not removed: it may be all that is left of it.
                own = [
                    copy
                    for copy in folder.copies_by_database(self._epochs)
                    if copy.epoch == head.epoch or copy.id in known
                ]
                beat = _Beat(lease)
                bad = self._bad_copies(folder, own, beat)
                # Neither is what this one came to before it was set back.
                lost = [copy.id for copy in own if copy.revision > head.revision]
                sound = [copy for copy in own if copy not in bad]
                plan = plan_sync(here, sound, mirror.rotation, now, keep=lost)
                for backup in plan.copy:
                    beat()
                    if name := self._copy(mirror, folder, backup, head.epoch, beat):
                        copied.append(backup.id)
                        written.add(name)
                # A bad copy of what is here no more stays: a part of it may be of use.
                verified = {backup.id for backup in here}
                for copy in (*plan.delete, *(copy for copy in bad if copy.id in verified)):
                    beat()
                    if copy.name not in written:
                        folder.delete(copy)
                there = folder.copies_by_database(self._epochs)
            with self._database.read() as connection:
                warning = self._warning(connection, mirror, there)
        except Busy as error:  # another process took over
            return Synced(mirror.name, tuple(copied), error=describe(error), busy=True)
        except ExpressoPersistError as error:
            self._rows.note_failure(mirror.name, describe(error))
            return Synced(mirror.name, tuple(copied), error=describe(error))
        finally:
            lease.release()
        ours = {*(copy.id for copy in own), *copied}
        own = [copy for copy in there if copy.id in ours]
        self._rows.note_success(mirror.name, here[0] if here else None, own, warning)
        return Synced(mirror.name, tuple(copied), tuple(copy.id for copy in plan.delete))

    def _bad_copies(
        self, folder: Folder, copies: list[Copy], beat: Callable[[], object]
    ) -> list[Copy]:
        """Copies that are not what was written: one of them is read at a time, in turn."""
        if not copies:
            return []
        unread = min(copies, key=lambda copy: self._read_at.get(copy.name, 0.0))
        self._read_at[unread.name] = time.monotonic()
        bad = [c for c in copies if not c.size or (c is unread and not folder.is_sound(c, beat))]
        for copy in bad:
            logger.warning("The copy %s at the mirror is damaged.", copy.name)
        return bad

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
        self,
        mirror: Mirror,
        folder: Folder,
        backup: Backup,
        epoch: str,
        beat: Callable[[], object],
    ) -> str | None:
        """Copy one backup, and give the name of the copy; None if there is nothing to copy."""
        # Written here first: a mirror that hangs must not keep a transaction open.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file = cast("IO[bytes]", spooled)
            try:
                self._transfer.export(backup.id, file, mirror.encryption)
            except BackupNotFound:
                return None  # rotated away meanwhile
            except BackupCorrupted:
                self._damaged(backup.id)  # the others are copied all the same
                return None
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            file.seek(0)
            # One that came from an archive is of the database that it was made from.
            of = None if backup.backup_type == IMPORTED else epoch
            name = copy_name(backup, of, digest, encrypted=mirror.encryption.encrypts)
            folder.put(name, file, beat)
        return name

    def _verified(self, connection: Connection) -> list[Backup]:
        """The backups that belong on a mirror, newest first."""
        return [
            backup
            for backup in self._catalog.all(connection)
            if backup.backup_status == "completed" and backup.verified_at is not None
        ]

    def look_again(self) -> None:
        """After a restore, what mirrors have is to be judged again."""
        self._rows.forget_warnings()

    def behind(self, connection: Connection, seen: Mapping[str, Seen]) -> list[str]:
        """What mirrors have of a newer state than the database: a sentence for each.

        Args:
            connection: A transaction.
            seen: What :meth:`look` found before it.
        """
        noted = {
            name: row.error
            for name, row in self._rows.read(connection).items()
            if row.error is not None and not row.failures and (name not in seen or seen[name].error)
        }
        return [*{**noted, **self._ahead(connection, seen)}.values()]


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
