"""BackupManager: makes, checks, rotates and restores backups of one tenant's whole state."""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Self

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.archive import ArchiveLimits
from expresso_persist.backups.catalog import Backup
from expresso_persist.backups.encryption import Encryption
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.making import Keyed, Made, Maker, Writer
from expresso_persist.backups.mirroring import Mirroring, Synced
from expresso_persist.backups.mirrors import Mirror, OpenedCopy, mirrors_from_environment
from expresso_persist.backups.restore import RestoreKey, Restorer
from expresso_persist.backups.restore_plan import RestorePlan, Scope
from expresso_persist.backups.rotation import PRE_IMPORT, Decision, Rotation
from expresso_persist.backups.scheduler import Runner, Work
from expresso_persist.backups.scrub import Scrubber
from expresso_persist.backups.status import BackupReader
from expresso_persist.backups.transfer import Progress, Transfer
from expresso_persist.backups.verification import (
    Verification,
    Verifier,
)
from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.errors import (
    ExpressoPersistError,
    InvalidConfiguration,
)

__all__ = ["BackupManager"]


class BackupManager(BackupReader):
    """The backups of one tenant.

    Used as a context manager it runs the scheduler inside the block.

    Attributes:
        rotation: Which automatic backups stay.
        interval: Seconds between automatic backups.
    """

    def __init__(
        self,
        database: Database,
        repository: InventoryRepository,
        *,
        rotation: Rotation | None = None,
        interval: float = 300,
        host_tables: HostTables | None = None,
        archive_limits: ArchiveLimits | None = None,
        mirrors: Iterable[Mirror] = (),
    ) -> None:
        """Look after the backups of ``repository``; nothing runs yet.

        Args:
            database: Where the backups are stored.
            repository: The data to back up.
            rotation: Which automatic backups stay; the 50 newest when left out.
            interval: Seconds between automatic backups, at least 1.
            host_tables: Tables of the host application to take along; ``stations`` and the
                ``orders`` of the last 7 days when left out.
            archive_limits: What an archive that is imported may cost.
            mirrors: Places to which each verified backup is copied.

        Raises:
            InvalidConfiguration: The interval is too short, or two mirrors are one place.
        """
        if not interval >= 1:
            raise InvalidConfiguration("The interval between backups is at least 1 second.")
        self.rotation: Rotation = rotation or Rotation(keep_last=50)
        self.interval: float = float(interval)
        super().__init__(database, repository.tenant)
        self._owned = contextlib.ExitStack()  # what is to be closed with this
        self._repository = repository
        self._writer = Writer(repository, self._catalog, self._chunks, host_tables or HostTables())
        self._verifier = Verifier(self._database, self._catalog, self._chunks)
        self._scrubber = Scrubber(
            self._database, self._catalog, self._chunks, self._verifier, self._writer.live_chunks
        )
        self._transfer = Transfer(
            repository, self._catalog, self._chunks, archive_limits or ArchiveLimits()
        )
        self._restorer = Restorer(
            repository, self._catalog, self._chunks, functools.partial(self.create, "safety")
        )
        self._keyed = Keyed(self._database, self.get, self.verify)
        places = tuple(mirrors)
        self._mirroring = Mirroring(
            self._database, self._catalog, self._transfer, places, self.interval, self.verify
        )
        self._runner = runner = self._new_runner()
        self._maker = Maker(
            self._writer, self._verifier, self._scrubber, self._keyed, runner.due, runner.note
        )

    def _new_runner(self) -> Runner:
        work = Work(
            make=self._make_due,
            tidy=self.rotate,
            resume=self._scrubber.verify_newest,
            check=self._scrubber.run,
            failed=self._leave_trace,
        )
        return Runner(self._database, self._tenant, self.interval, work)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        tenant: str = "default",
        migrate: bool = False,
        rotation: Rotation | None = None,
        interval: float = 300,
        host_tables: HostTables | None = None,
        archive_limits: ArchiveLimits | None = None,
        mirrors: Iterable[Mirror] | None = None,
    ) -> Self:
        """Open a database for a script; closed by the end of a ``with`` block.

        >>> with BackupManager.from_url("sqlite://", migrate=True) as backups:
        ...     backups.create(notes="nightly").backup_status
        'completed'

        Args:
            url: ``sqlite:///file.db`` or ``postgresql://…``.
            tenant: Whose data to back up.
            migrate: Create or update the tables first.
            rotation: As of the constructor, like those that follow.
            interval: Seconds between automatic backups.
            host_tables: Tables of the host application.
            archive_limits: What an archive may cost.
            mirrors: Where each verified backup is copied to; those that
                ``EXPRESSO_PERSIST_MIRRORS`` names when left out.

        Raises:
            InvalidConfiguration: The URL is not one of SQLite or PostgreSQL, the interval
                is too short, or two mirrors are one place.
            SchemaMismatch: The tables are missing, older or newer than this version.
            DatabaseUnavailable: The database does not answer.
        """
        database = migrations.ready(Database(url), migrate=migrate)
        with contextlib.ExitStack() as stack:
            stack.callback(database.close)
            manager = cls(
                database,
                InventoryRepository(database, tenant),
                rotation=rotation,
                interval=interval,
                host_tables=host_tables,
                archive_limits=archive_limits,
                mirrors=mirrors_from_environment() if mirrors is None else mirrors,
            )
            manager._owned = stack.pop_all()
        return manager

    # -- making ---------------------------------------------------------------------------

    def create(
        self,
        kind: str = "manual",
        notes: str = "",
        actor: str = "system",
        *,
        idempotency_key: str | None = None,
    ) -> Backup:
        """Make a backup and verify it.

        Args:
            kind: ``manual``, ``automatic``, ``safety`` or ``preimport``. An automatic one of
                a state that equals the newest backup makes no new row: the newest is marked
                as confirmed and given back.
            notes: Free text for people.
            actor: Who makes it.
            idempotency_key: A name for this request; the same again makes no second backup
                and gives back the first.

        Raises:
            InvalidInput: The kind is unknown, or the notes are too long, cannot be stored or
                hold a secret.
            IdempotencyMismatch: The key was used for another request.
            BackupCorrupted: It was stored but does not restore; it is marked as failed.
        """
        return self.create_once(kind, notes, actor, idempotency_key=idempotency_key).backup

    def create_once(
        self,
        kind: str = "manual",
        notes: str = "",
        actor: str = "system",
        *,
        idempotency_key: str | None,
        request: str | bytes | None = None,
    ) -> Made:
        """Like :meth:`create`, and says whether an earlier request with the key made it.

        ``request`` is what was asked, to tell a repetition from another request.
        """
        asked = request or f"create {kind} {notes}"
        keyed = KeyedRequest.of(self._tenant, actor, idempotency_key, asked)
        return self._maker.once(kind, notes, actor, keyed)

    def before_import(self, notes: str, actor: str) -> str:
        """Make the safety backup of an import; the oldest of its type make room.

        Returns:
            Its id.
        """
        backup = self.create(PRE_IMPORT, notes, actor)
        with contextlib.suppress(ExpressoPersistError):  # the next one makes room
            self._scrubber.rotate(self.rotation, only=PRE_IMPORT)
        return backup.id

    def pin(self, backup_id: str, pinned: bool = True) -> Backup:
        """Keep a backup out of the rotation, or let it rotate again.

        Raises:
            BackupNotFound: There is no such backup.
        """
        self.get(backup_id)

        def mark(connection: Connection) -> Backup:
            self._catalog.update(connection, backup_id, pinned=bool(pinned))
            return self._catalog.get(connection, backup_id)

        return self._database.transact(mark)

    # -- checking -------------------------------------------------------------------------

    def verify(self, backup_id: str) -> Verification:
        """Read a backup back, check every byte, rebuild the state in a scratch database.

        The result is stored with the backup.

        Everything that backups are stored in is checked and mended first (see
        :meth:`run_once`).

        Raises:
            BackupNotFound: There is no such backup.
        """
        checked = self._scrubber.run()
        return attrs.evolve(self._verifier.verify(backup_id), repaired=checked.mended)

    # -- rotating -------------------------------------------------------------------------

    def rotate(self, dry_run: bool = False) -> builtins.list[Decision]:
        """Drop the automatic backups that the rotation does not keep.

        Args:
            dry_run: Only say what would happen, and why.

        Returns:
            A decision with its reason for every backup there was, newest first.
        """
        return [*self._scrubber.rotate(self.rotation, dry_run=dry_run)]

    # -- restoring ------------------------------------------------------------------------

    def restore(
        self,
        backup_id: str,
        *,
        actor: str,
        dry_run: bool = False,
        kinds: Iterable[str] | None = None,
        stations: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
    ) -> RestorePlan:
        """Bring the state back to what it was in a backup, as one commit.

        A safety backup of the state before is made first. The host's own tables are never
        written. When the state already equals the backup, nothing is stored at all, unless
        there is an idempotency key to be remembered.

        Args:
            backup_id: The backup.
            actor: Who does it; it goes into the audit trail.
            dry_run: Only say what would happen.
            kinds: Restore these kinds of record and leave the others alone.
            stations: Of these, only what belongs to these stations…
            keys: …and the records at or below these keys, such as
                ``event_inventory:milk/Oat`` or ``event_inventory:milk``.
            idempotency_key: A name for this restore; the same again restores nothing and
                gives the first answer. A dry run is not remembered.
            request: What was asked, to tell a repetition from another request.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged; nothing was written. Or the state afterwards is
                not the backup's, which the message says.
            Busy: Another restore or an import is running.
            IdempotencyMismatch: The key was used for another request.
            InvalidInput: One of the kinds, stations or keys does not exist.
        """
        scope = Scope.of(kinds, stations, keys)
        if request is None:
            asked = sorted(scope.stations), sorted(scope.keys)
            request = f"restore {backup_id} {scope.kinds} {asked[0]} {asked[1]}"
        key = RestoreKey(idempotency_key, request)
        done = self._restorer.restore(backup_id, scope, actor, key, dry_run=dry_run)
        if done.committed and not done.replayed:
            self._mirroring.look_again()
        return done

    # -- archives -------------------------------------------------------------------------

    def export(
        self,
        backup_id: str,
        target: str | Path | IO[bytes],
        *,
        recipients: Iterable[str] = (),
        passphrase: str | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Write a backup as an archive (``docs/archive-format.md``), piece by piece.

        Args:
            backup_id: The backup.
            target: A path, which appears when the archive is complete, or a binary file.
            recipients: Public keys of age (``age1…``); only holders of one of the private
                keys can read the archive.
            passphrase: Encrypt with this instead.
            progress: Called with the bytes done, and all.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged; no archive was written.
        """
        encryption = Encryption(recipients=tuple(recipients or ()), passphrase=passphrase)
        return self._transfer.export(backup_id, target, encryption, progress)

    def import_(
        self,
        source: str | Path | IO[bytes] | OpenedCopy,
        *,
        identities: Iterable[str] = (),
        passphrase: str | None = None,
        from_tenant: str | None = None,
        progress: Progress | None = None,
        actor: str = "system",
        idempotency_key: str | None = None,
    ) -> Backup:
        """Store an archive as a backup of type ``imported``, and verify it.

        Nothing is restored by this; :meth:`restore` does that. An archive of a backup that
        is here already gives back that backup.

        Args:
            source: A path, a binary file, or what ``Mirror.open`` gives: the archive must be
                the one that its file's name says.
            identities: Private keys of age to decrypt it with.
            passphrase: Decrypt with this instead.
            from_tenant: The tenant it was written for, if that is another one on purpose.
            progress: Called with the bytes stored, and all.
            actor: Who does it; an idempotency key is one of theirs.
            idempotency_key: A name for this request; the same again gives the first answer.

        Raises:
            ArchiveRefused: It is damaged, hostile, too new, of another tenant, or cannot be
                decrypted. Nothing was stored.
            IdempotencyMismatch: The key was used for another request.
        """
        return self.import_once(
            source,
            identities=identities,
            passphrase=passphrase,
            from_tenant=from_tenant,
            progress=progress,
            actor=actor,
            idempotency_key=idempotency_key,
        ).backup

    def import_once(
        self,
        source: str | Path | IO[bytes] | OpenedCopy,
        *,
        actor: str,
        idempotency_key: str | None,
        request: str = "",
        identities: Iterable[str] = (),
        passphrase: str | None = None,
        from_tenant: str | None = None,
        progress: Progress | None = None,
    ) -> Made:
        """Like :meth:`import_`, and says whether an earlier request with the key did it.

        ``request`` is what was asked besides the bytes of the archive.
        """
        encryption = Encryption(identities=tuple(identities or ()), passphrase=passphrase)

        def keyed(digest: str) -> KeyedRequest | None:
            asked = f"import {request} {from_tenant} {digest}"
            return KeyedRequest.of(self._tenant, actor, idempotency_key, asked)

        backup_id, known, asked = self._transfer.import_(
            source, encryption, from_tenant=from_tenant, progress=progress, keyed=keyed
        )
        if not known:
            self._verifier.require(backup_id, "archive")
        if asked is None:
            return Made(self.get(backup_id), already=known)
        made = self._keyed.answered(asked, self._keyed.finished(backup_id))
        return attrs.evolve(made, already=known and not made.replayed)

    # -- mirrors --------------------------------------------------------------------------

    def sync_mirrors(self) -> builtins.list[Synced]:
        """Copy now what the mirrors lack, and remove what their rotations drop.

        Returns:
            What was done for each mirror; a failure is in its ``error`` and in the status.
        """
        return self._mirroring.sync()

    # -- running --------------------------------------------------------------------------

    def run_once(self) -> Backup | None:
        """Make the automatic backup if it is due and no other process is at it; copy it.

        Then everything that backups are stored in is compared with its checksums, and what is
        damaged is written again from the second copy, the live state or a mirror.

        Safe to call as often and from as many processes as one likes: from cron, from
        ``expresso-persist backup run``, beside running schedulers.

        Returns:
            The backup that was made or confirmed; None when there was nothing to do. What
            went wrong at a mirror is in :meth:`status`.
        """
        try:
            return self._runner.run_once()
        finally:
            self._mirroring.sync_due()

    def standby(self) -> builtins.list[float]:
        """Intervals, in seconds, of the schedulers that stand by in other processes."""
        return self._runner.standby()

    def start(self) -> None:
        """Make automatic backups in the background from now on; safe to call twice.

        One thread makes them, and one for each mirror copies them.
        """
        self._runner.start()
        self._mirroring.start()

    def stop(self, grace: float = 10.0) -> None:
        """Stop the background thread, after the backup it is making.

        Args:
            grace: Seconds to wait for it.
        """
        self._mirroring.stop(grace)
        self._runner.stop(grace)

    def close(self) -> None:
        """Stop what runs, and close the database if :meth:`from_url` opened it."""
        self.stop()
        self._owned.close()

    def __enter__(self) -> Self:
        """Use it in a ``with`` block; nothing is started by that."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _make_due(self, lease: Lease) -> Backup | None:
        return self._maker.make("automatic", "", "scheduler", lease=lease)

    def _leave_trace(self, error: str) -> None:
        self._maker.leave_trace(error)
