"""BackupManager: makes, checks, rotates and restores backups of one tenant's whole state."""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.archive import ArchiveLimits
from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.contents import check_host_rows, load, open_records
from expresso_persist.backups.encryption import Encryption
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.keyed import Keyed, Made
from expresso_persist.backups.mirroring import Mirroring, Synced
from expresso_persist.backups.mirrors import Mirror, OpenedCopy, mirrors_from_environment
from expresso_persist.backups.restore import RestoreKey, Restorer
from expresso_persist.backups.restore_plan import RestorePlan, make_plan
from expresso_persist.backups.rotation import PRE_IMPORT, Decision, Rotation, plan
from expresso_persist.backups.runner import Runner, Work
from expresso_persist.backups.scope import Scope
from expresso_persist.backups.scrub import Scrubber
from expresso_persist.backups.status import health, status
from expresso_persist.backups.transfer import Progress, Transfer, whole_file
from expresso_persist.backups.verification import Verification, Verifier
from expresso_persist.backups.writer import Draft, Writer
from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.errors import (
    BackupCorrupted,
    BackupNotFound,
    Busy,
    ExpressoPersistError,
    InvalidConfiguration,
    InvalidInput,
)
from expresso_persist.model import json_text
from expresso_persist.model.plan import Plan, diff
from expresso_persist.model.records import Record
from expresso_persist.model.secrets import refuse_text

__all__ = ["BackupManager"]

TYPES = ("automatic", "manual", "safety", PRE_IMPORT)
_MAX_NOTES = 1000


class BackupManager:
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
        self._database = database = database.of(repository.tenant)
        self._owned = contextlib.ExitStack()  # what is to be closed with this
        self._repository = repository
        self._catalog = Catalog(repository.tenant)
        self._chunks = ChunkStore(database, repository.tenant)
        self._writer = Writer(repository, self._catalog, self._chunks, host_tables or HostTables())
        self._verifier = Verifier(database, self._catalog, self._chunks)
        self._scrubber = Scrubber(
            database,
            self._catalog,
            self._chunks,
            self._verifier,
            live=lambda: self._writer.read(reuse=False).chunks,
        )
        limits = archive_limits or ArchiveLimits()
        self._transfer = Transfer(repository, self._catalog, self._chunks, limits)
        self._restorer = Restorer(repository, functools.partial(self.create, "safety"))
        self._keyed = Keyed(database, self.get, self.verify)
        self._mirroring = Mirroring(
            database,
            self._catalog,
            self._transfer,
            tuple(mirrors),
            interval=self.interval,
            damaged=self.verify,
        )
        self._runner = Runner(
            database,
            repository.tenant,
            self.interval,
            Work(
                make=self._make_due,
                tidy=self.rotate,
                resume=self._scrubber.verify_newest,
                check=self._scrubber.run,
                failed=self._leave_trace,
            ),
        )

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
            rotation: Which automatic backups stay; the 50 newest when left out.
            interval: Seconds between automatic backups, at least 1.
            host_tables: Tables of the host application to take along.
            archive_limits: What an archive that is imported may cost.
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

    # -- reading --------------------------------------------------------------------------

    def list(self) -> list[Backup]:
        """Every backup, newest first."""
        with self._database.read() as connection:
            return self._catalog.all(connection)

    def get(self, backup_id: str) -> Backup:
        """One backup.

        Raises:
            BackupNotFound: There is no such backup.
        """
        with self._database.read() as connection:
            return self._catalog.get(connection, backup_id)

    def status(self) -> dict[str, Any]:
        """How the backups are doing, as a JSON object without any payload.

        Mirrors that no process has looked at in time are looked at, for a few seconds at most.
        """
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return status(
                connection,
                catalog=self._catalog,
                chunks=self._chunks,
                due=self._runner.due,
                lease=self._runner.lease,
                rotation=self.rotation,
                mirrors=self._mirroring.status(connection, seen),
                running_here=self._runner.alive,
                last_error=self._runner.last_error,
            )

    def health(self) -> dict[str, Any]:
        """Whether backups are made and good: ``ok``, ``last_success_at``, ``lag_seconds``."""
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return health(
                connection,
                catalog=self._catalog,
                due=self._runner.due,
                last_error=self._runner.last_error,
                behind=self._mirroring.behind(connection, seen),
            )

    def diff(self, a: str | None, b: str | None = None, kinds: Iterable[str] | None = None) -> Plan:
        """What became of the records between two backups; None is the state as it is now.

        Args:
            a: The backup to begin with.
            b: The backup to end with.
            kinds: Compare these kinds of record only.

        Returns:
            The plan that turns ``a`` into ``b``; both are read in one transaction, every
            byte of a backup checked.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: One of them is damaged.
            InvalidInput: One of the kinds does not exist.
        """
        scope = Scope.of(kinds)
        with self._database.read() as connection:
            return diff(self._records(connection, a, scope), self._records(connection, b, scope))

    def _records(
        self, connection: Connection, backup_id: str | None, scope: Scope
    ) -> builtins.list[Record]:
        if backup_id is None:
            return scope.current(State(connection, self._repository.tenant))
        _, manifest = load(connection, self._catalog, backup_id)
        return scope.filter(open_records(connection, self._chunks, manifest, scope.reads))

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
            actor: Who asks for it.
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

        Args:
            kind: As of :meth:`create`, like those that follow.
            notes: Free text for people.
            actor: Who asks for it.
            idempotency_key: A name for this request.
            request: What was asked, to tell a repetition from another request.
        """
        if kind not in TYPES:
            raise InvalidInput(f"{kind!r} is not a type of backup; use {', '.join(TYPES)}.")
        json_text.check_storable(notes=notes, actor=actor)
        if not isinstance(notes, str) or len(notes) > _MAX_NOTES:  # type: ignore[redundant-expr]
            raise InvalidInput(
                f"The notes of a backup are a text of at most {_MAX_NOTES} characters."
            )
        refuse_text(notes=notes, actor=actor)
        keyed = self._request(actor, idempotency_key, request or f"create {kind} {notes}")

        def make() -> Backup:
            try:
                backup = self._create(kind, notes, actor, request=keyed)
            except ExpressoPersistError as error:
                self._runner.note(error)
                raise
            if backup is None:  # pragma: no cover - only one with a lease may find it made
                raise Busy("Another process made the backup meanwhile.")
            return backup

        return self._keyed.once(keyed, make)

    def _request(
        self, actor: str, key: str | None, request: str | bytes | None
    ) -> KeyedRequest | None:
        return KeyedRequest.of(self._repository.tenant, actor, key, request)

    def before_import(self, notes: str, actor: str) -> str:
        """Make the safety backup of an import; the oldest of its type make room.

        Returns:
            Its id.
        """
        backup = self.create(PRE_IMPORT, notes, actor)
        with contextlib.suppress(ExpressoPersistError):  # the next one makes room
            self._rotate(PRE_IMPORT)
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

    def _create(
        self,
        kind: str,
        notes: str,
        actor: str,
        *,
        lease: Lease | None = None,
        request: KeyedRequest | None = None,
    ) -> Backup | None:
        """Make a backup; with a lease only if nobody made one since this began."""
        automatic = kind == "automatic"
        with self._database.read() as connection:
            last = self._runner.due.last(connection)
        draft = self._writer.read(reuse=automatic)
        _renew(lease)
        packed = self._writer.pack(draft)
        _renew(lease)

        def store(connection: Connection) -> tuple[Backup, bool] | None:
            self._keyed.claim(connection, request)
            # Who is so slow that the lease was lost goes on: the first to get here stores it.
            # If all gave up instead, a state too large for one lease would have no backups.
            if lease is not None and not self._runner.due.claim(connection, last):
                return None
            confirmed: Backup | None = None
            if automatic:
                self._runner.due.lock(connection)  # before the chunks, always in this order
                confirmed = self._confirm(connection, draft)
            backup = confirmed or self._writer.store(
                connection, draft, packed, kind=kind, notes=notes, actor=actor
            )
            self._keyed.made(connection, request, backup)
            self._catalog.forget_failure(connection)
            if automatic:
                # The very time that the row shows, so that rows are an interval apart.
                self._runner.due.move(connection, backup.confirmed_at or backup.created_at)
            return backup, confirmed is not None

        stored = self._database.transact(store)
        if stored is None:
            return None
        backup, unchanged = stored
        if unchanged:
            return backup
        result = self._verifier.verify(backup.id)
        if not result.ok:  # it shares pieces that have rotted, and knows what was in them
            self._scrubber.run(draft.chunks)
            result = self._verifier.verify(backup.id)
        if not result.ok:
            raise BackupCorrupted(
                f"The backup was stored but does not restore: {' '.join(result.problems)}",
                context={"backup_id": backup.id},
            )
        return self.get(backup.id)

    def _confirm(self, connection: Connection, draft: Draft) -> Backup | None:
        """Mark the newest backup as confirmed when it shows the very state of the draft."""
        newest = self._catalog.newest(connection)
        if (
            newest is None
            or newest.verified_at is None
            or newest.payload_sha256 != draft.payload_sha256
        ):
            return None
        try:
            self._catalog.update(connection, newest.id, confirmed_at=self._database.now(connection))
            return self._catalog.get(connection, newest.id)
        except BackupNotFound:  # a rotation removed it at this moment
            return None

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
            dry_run: Only tell what would happen, and why.

        Returns:
            A decision with its reason for every backup there was, newest first.
        """
        if dry_run:
            with self._database.read() as connection:
                return self._decide(connection, self._catalog.all(connection))
        return self._rotate()

    def _rotate(self, only: str | None = None) -> builtins.list[Decision]:
        """Drop what the rule drops; only of one type, where another process has the rule."""

        def drop(connection: Connection) -> builtins.list[Decision]:
            self._chunks.lock(connection)
            backups = self._catalog.all(connection)
            decisions = self._decide(connection, backups)
            mine = {b.id for b in backups if only in (None, b.backup_type)}
            dropped = [d.backup_id for d in decisions if not d.keep and d.backup_id in mine]
            if dropped:
                self._catalog.delete(connection, dropped)
                self._scrubber.sweep(connection)
            return decisions

        return self._database.transact(drop)

    def _decide(
        self, connection: Connection, backups: builtins.list[Backup]
    ) -> builtins.list[Decision]:
        return [*plan(backups, self.rotation, now=self._database.now(connection))]

    # -- restoring ------------------------------------------------------------------------

    def plan_restore(
        self,
        backup_id: str,
        kinds: Iterable[str] | None = None,
        *,
        stations: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
    ) -> RestorePlan:
        """What :meth:`restore` would do now; nothing is written.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged and cannot be used.
            InvalidInput: One of the kinds, stations or keys does not exist.
        """
        return self._plan_restore(backup_id, Scope.of(kinds, stations, keys))[0]

    def _plan_restore(
        self, backup_id: str, scope: Scope
    ) -> tuple[RestorePlan, builtins.list[Record]]:
        with self._database.read() as connection:
            backup, manifest = load(connection, self._catalog, backup_id)
            if scope.whole:  # a backup that is damaged anywhere is not restored as a whole
                check_host_rows(connection, self._chunks, manifest)
            wanted = scope.filter(open_records(connection, self._chunks, manifest, scope.reads))
            return make_plan(connection, backup, manifest, wanted, scope), wanted

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
            actor: Who asks for it; it goes into the audit trail.
            dry_run: Only tell what would happen.
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
            request = (
                f"restore {backup_id} {scope.kinds} {sorted(scope.stations)} {sorted(scope.keys)}"
            )
        key = RestoreKey(idempotency_key, request)
        earlier = self._restorer.replay(scope, actor, key)
        if earlier is not None and not dry_run:
            return earlier
        dry, wanted = self._plan_restore(backup_id, scope)
        if dry_run:
            return dry
        if dry.plan.empty and idempotency_key is None:
            return attrs.evolve(dry, dry_run=False)
        done = self._restorer.restore(dry, scope, wanted, actor, key)
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
        if not isinstance(target, (str, Path)):
            return self._transfer.export(backup_id, target, encryption, progress)
        with whole_file(Path(target)) as file:
            return self._transfer.export(backup_id, file, encryption, progress)

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
            actor: Who asks for it; an idempotency key is one of theirs.
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

        Args:
            source: As of :meth:`import_`, like those that are not explained here.
            actor: Who asks for it.
            idempotency_key: A name for this request.
            request: What was asked besides the bytes of the archive.
            identities: Private keys of age.
            passphrase: Instead of those.
            from_tenant: The tenant that it was written for.
            progress: Called with the bytes stored, and all.
        """
        encryption = Encryption(identities=tuple(identities or ()), passphrase=passphrase)

        def keyed(digest: str) -> KeyedRequest | None:
            asked = f"import {request} {from_tenant} {digest}"
            return self._request(actor, idempotency_key, asked)

        if isinstance(source, str):
            json_text.check_storable(source=source)
        with contextlib.ExitStack() as stack:
            file = (
                stack.enter_context(Path(source).open("rb"))
                if isinstance(source, (str, Path))
                else source
            )
            backup_id, known, asked = self._transfer.import_(
                file, encryption, from_tenant=from_tenant, progress=progress, keyed=keyed
            )
        if not known:
            result = self._verifier.verify(backup_id)
            if not result.ok:
                raise BackupCorrupted(
                    f"The archive was stored but does not restore: {' '.join(result.problems)}",
                    context={"backup_id": backup_id},
                )
        if asked is None:
            return Made(self.get(backup_id), already=known)
        made = self._keyed.answered(asked, self._keyed.finished(backup_id))
        return attrs.evolve(made, already=known and not made.replayed)

    # -- mirrors --------------------------------------------------------------------------

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """Where the verified backups are copied to."""
        return self._mirroring.mirrors

    def newer_at_mirrors(self) -> builtins.list[str]:
        """What mirrors have of a newer state than the database: a sentence for each of them."""
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return self._mirroring.behind(connection, seen)

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _make_due(self, lease: Lease) -> Backup | None:
        return self._create("automatic", "", "scheduler", lease=lease)

    def _leave_trace(self, error: str) -> None:
        self._database.transact(
            lambda connection: self._catalog.note_failure(
                connection, self._database.now(connection), error
            )
        )


def _renew(lease: Lease | None) -> None:
    """Keep a lease between two steps of the work, unless somebody took it over."""
    if lease is not None:
        lease.acquire()
