"""BackupManager: makes, checks, rotates and restores backups of one tenant's whole state."""

from __future__ import annotations

import builtins
import datetime as dt
import random
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups import restore as restoring
from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.lease import RESTORE, DueMark, Lease
from expresso_persist.backups.manifest import Manifest
from expresso_persist.backups.restore import RestorePlan, Scope
from expresso_persist.backups.rotation import Decision, Rotation, plan
from expresso_persist.backups.scheduler import Scheduler, describe
from expresso_persist.backups.status import status
from expresso_persist.backups.verification import (
    Verification,
    check,
    load,
    open_records,
    rebuild,
)
from expresso_persist.backups.writer import Draft, Writer
from expresso_persist.database import Database
from expresso_persist.errors import (
    BackupCorrupted,
    Busy,
    ExpressoPersistError,
    InvalidConfiguration,
    InvalidInput,
)
from expresso_persist.jsontext import dumps
from expresso_persist.plan import Plan
from expresso_persist.repository import InventoryRepository

__all__ = ["BackupManager"]

TYPES = ("automatic", "manual", "safety")
_RESTORE_TTL = 60.0
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
    ) -> None:
        """Look after the backups of ``repository``; nothing runs yet.

        Args:
            database: Where the backups are stored.
            repository: The data to back up.
            rotation: Which automatic backups stay; the 50 newest when left out.
            interval: Seconds between automatic backups, at least 1.
            host_tables: Tables of the host application to take along; ``stations`` and the
                ``orders`` of the last 7 days when left out.

        Raises:
            InvalidConfiguration: The interval is too short.
        """
        if not interval >= 1:
            raise InvalidConfiguration("The interval between backups is at least 1 second.")
        self.rotation = rotation or Rotation(keep_last=50)
        self.interval = float(interval)
        self._database = database
        self._repository = repository
        self._catalog = Catalog(repository.tenant)
        self._chunks = ChunkStore(database, repository.tenant)
        self._writer = Writer(repository, self._catalog, self._chunks, host_tables or HostTables())
        # Half an interval: a runner that dies is replaced before the next backup is missed.
        self._lease = Lease(database, repository.tenant, self.interval / 2)
        self._due = DueMark(database, repository.tenant, dt.timedelta(seconds=self.interval))
        self._scheduler = Scheduler(self._tick, interval=self.interval, on_error=self._note_error)
        self._last_error: str | None = None

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
        """How the backups are doing, as a JSON object without any payload."""
        with self._database.read() as connection:
            return status(
                connection,
                catalog=self._catalog,
                chunks=self._chunks,
                due=self._due,
                lease=self._lease,
                rotation=self.rotation,
                running_here=self._scheduler.alive,
                last_error=self._last_error,
            )

    # -- making ---------------------------------------------------------------------------

    def create(self, kind: str = "manual", notes: str = "", actor: str = "system") -> Backup:
        """Make a backup and verify it.

        Args:
            kind: ``manual``, ``automatic`` or ``safety``. An automatic one of a state that
                equals the newest backup makes no new row: the newest is marked as confirmed
                and given back.
            notes: Free text for people.
            actor: Who asks for it.

        Raises:
            InvalidInput: The kind is unknown or the notes are too long.
            BackupCorrupted: It was stored but does not restore; it is marked as failed.
        """
        if kind not in TYPES:
            raise InvalidInput(f"{kind!r} is not a type of backup; use {', '.join(TYPES)}.")
        if len(notes) > _MAX_NOTES:
            raise InvalidInput(f"The notes of a backup have at most {_MAX_NOTES} characters.")
        try:
            backup = self._create(kind, notes, actor)
        except ExpressoPersistError as error:
            self._note_error(error)
            raise
        if backup is None:  # pragma: no cover - only one with a lease may find it made
            raise _lost()
        return backup

    def pin(self, backup_id: str, pinned: bool = True) -> Backup:
        """Keep a backup out of the rotation, or let it rotate again."""
        with self._database.write() as connection:
            self._catalog.update(connection, backup_id, pinned=pinned)
            return self._catalog.get(connection, backup_id)

    def _create(
        self, kind: str, notes: str, actor: str, *, lease: Lease | None = None
    ) -> Backup | None:
        """Make a backup; with a lease only when one is due and the lease is still held."""
        automatic = kind == "automatic"
        draft = self._writer.read(reuse=automatic)
        _keep(lease)
        packed = self._writer.pack(draft)
        _keep(lease)
        with self._database.write() as connection:
            if lease is not None:
                # Fencing: both rows stay locked until the backup is committed, so nobody
                # else can take the lease or make the backup of this interval.
                if not lease.fence(connection):
                    raise _lost()
                if not self._due.claim(connection):
                    return None
            if automatic:
                # The mark is locked before the chunks, always in this order.
                self._due.move(connection, self._database.now(connection))
                confirmed = self._confirm(connection, draft)
                if confirmed is not None:
                    self._last_error = None
                    return confirmed
            backup = self._writer.store(
                connection, draft, packed, kind=kind, notes=notes, actor=actor
            )
        result = self._verify(backup.id, draft)
        if not result.ok:
            raise BackupCorrupted(
                f"The backup was stored but does not restore: {' '.join(result.problems)}",
                context={"backup_id": backup.id},
            )
        if automatic:
            self._last_error = None
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
        self._catalog.update(connection, newest.id, confirmed_at=self._database.now(connection))
        return self._catalog.get(connection, newest.id)

    # -- checking -------------------------------------------------------------------------

    def verify(self, backup_id: str) -> Verification:
        """Read a backup back, check every byte, rebuild the state in a scratch database.

        The result is stored with the backup.

        Raises:
            BackupNotFound: There is no such backup.
        """
        return self._verify(backup_id, None)

    def _verify(self, backup_id: str, draft: Draft | None) -> Verification:
        result = self._check(backup_id)
        damaged = result.damaged_chunks
        if damaged and draft is not None and set(damaged) <= draft.chunks.keys():
            # A part shared with older backups has rotted. Its contents are at hand, so it
            # is written anew, which mends the older backups as well.
            with self._database.write() as connection:
                self._chunks.lock(connection)
                for sha256 in damaged:
                    self._chunks.replace(connection, sha256, draft.chunks[sha256])
            result = attrs.evolve(self._check(backup_id), repaired=len(damaged))
            self._store_result(result)
            for other in self.list():
                if other.backup_status == "failed" and other.payload_sha256:
                    self._store_result(self._check(other.id))
            return result
        self._store_result(result)
        return result

    def _check(self, backup_id: str) -> Verification:
        try:
            with self._database.read() as connection:
                _, manifest = load(connection, self._catalog, backup_id)
                records = check(connection, self._chunks, manifest)
            rebuild(manifest, records)
        except BackupCorrupted as error:
            damaged = tuple(error.context.get("chunks", ()))
            return Verification(backup_id, False, (error.message,), damaged)
        return Verification(backup_id, True)

    def _store_result(self, result: Verification) -> None:
        with self._database.write() as connection:
            backup = self._catalog.get(connection, result.backup_id)
            if result.ok:
                text = "read back, checksums compared, rebuilt in a scratch database"
                if result.repaired:
                    text += f"; {result.repaired} damaged chunks were written anew"
                values: dict[str, Any] = {
                    "verified_at": self._database.now(connection),
                    "verification": text,
                    "backup_status": "completed",
                    "error": None,
                }
            elif backup.payload_sha256:
                text = " ".join(result.problems)
                values = {
                    "verified_at": None,
                    "verification": text,
                    "backup_status": "failed",
                    "error": text,
                }
            else:  # it failed before it held anything; the first reason stays
                return
            self._catalog.update(connection, result.backup_id, **values)

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
                return self._decide(connection)
        with self._database.write() as connection:
            self._chunks.lock(connection)
            decisions = self._decide(connection)
            dropped = [decision.backup_id for decision in decisions if not decision.keep]
            if dropped:
                self._catalog.delete(connection, dropped)
                self._collect(connection)
        return decisions

    def _decide(self, connection: Connection) -> builtins.list[Decision]:
        backups = self._catalog.all(connection)
        return [*plan(backups, self.rotation, now=self._database.now(connection))]

    def _collect(self, connection: Connection) -> None:
        referenced: set[str] = set()
        for text in self._catalog.manifest_texts(connection):
            try:
                referenced |= Manifest.decode(text).chunk_ids
            except BackupCorrupted:
                return  # what it refers to is unknown, so everything stays
        self._chunks.collect(connection, referenced)

    # -- restoring ------------------------------------------------------------------------

    def plan_restore(self, backup_id: str, kinds: Iterable[str] | None = None) -> RestorePlan:
        """What :meth:`restore` would do now; nothing is written.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged and cannot be used.
            InvalidInput: One of the kinds does not exist.
        """
        scope = Scope.of(kinds)
        with self._database.read() as connection:
            backup, manifest = load(connection, self._catalog, backup_id)
            records = open_records(connection, self._chunks, manifest, scope.reads)
            return restoring.make_plan(connection, backup, manifest, scope.filter(records), scope)

    def restore(
        self,
        backup_id: str,
        *,
        actor: str,
        dry_run: bool = False,
        kinds: Iterable[str] | None = None,
    ) -> RestorePlan:
        """Bring the state back to what it was in a backup, as one commit.

        A safety backup of the state before is made first. The host's own tables are never
        written. When the state already equals the backup, nothing is stored at all.

        Args:
            backup_id: The backup.
            actor: Who asks for it; it goes into the audit trail.
            dry_run: Only tell what would happen.
            kinds: Restore these kinds of record and leave the others alone.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged; nothing was written. Or the state afterwards is
                not the backup's, which the message says.
            Busy: Another restore is running.
            InvalidInput: One of the kinds does not exist.
        """
        scope = Scope.of(kinds)
        dry = self.plan_restore(backup_id, scope.kinds)
        if dry_run:
            return dry
        if dry.plan.empty:
            return attrs.evolve(dry, dry_run=False)
        lease = Lease(
            self._database, self._repository.tenant, _RESTORE_TTL, name=RESTORE, label=actor
        )
        if not lease.acquire():
            raise self._busy(lease)
        try:
            return self._restore(dry, scope, actor)
        finally:
            lease.release()

    def _restore(self, dry: RestorePlan, scope: Scope, actor: str) -> RestorePlan:
        with self._database.read() as connection:
            _, manifest = load(connection, self._catalog, dry.backup.id)
            records = open_records(connection, self._chunks, manifest, scope.reads)
        wanted = scope.filter(records)
        safety = self.create("safety", f"Before restoring {dry.backup.id}", actor)
        carried_out: list[Plan] = []

        def receipt(revision: int) -> str:
            return _receipt(done(revision))

        def done(revision: int) -> RestorePlan:
            return attrs.evolve(
                dry,
                plan=carried_out[-1],
                dry_run=False,
                committed=True,
                revision=revision,
                safety_backup_id=safety.id,
            )

        commit = self._repository.commit(
            restoring.decide(scope, wanted, carried_out.append),
            actor=actor,
            source="restore",
            note=f"Restored backup {dry.backup.id}",
            receipt=receipt,
        )
        result = attrs.evolve(done(commit.revision), committed=commit.stored)
        self._prove(result, scope, wanted)
        return result

    def _prove(self, result: RestorePlan, scope: Scope, wanted: Sequence[Any]) -> None:
        """Compare the state right after the restore with the backup's."""
        snapshot = self._repository.snapshot()
        newer = [
            commit
            for commit in self._commits_since(result.revision)
            if commit.revision <= snapshot.head.revision
        ]
        stored = scope.filter(restoring.rewind(snapshot.records, newer))
        differing = restoring.differing_kinds(stored, wanted)
        if differing:
            raise BackupCorrupted(
                f"The restore was committed as revision {result.revision}, but "
                f"{', '.join(differing)} is not what the backup holds. The state before is "
                f"in safety backup {result.safety_backup_id}.",
                context={"revision": result.revision},
            )

    def _commits_since(self, revision: int) -> Iterable[Any]:
        while page := self._repository.commits(revision, 500):
            yield from page
            revision = page[-1].revision

    def _busy(self, lease: Lease) -> Busy:
        with self._database.read() as connection:
            view = lease.view(connection)
        return Busy(
            f"{view.label or 'Somebody'} is restoring a backup at the moment; try again shortly.",
            retry_after=max(1, round(view.seconds_left)),
        )

    # -- running --------------------------------------------------------------------------

    def run_once(self) -> Backup | None:
        """Make the automatic backup if it is due and no other process is at it.

        Safe to call as often and from as many processes as one likes: from cron, from
        ``expresso-persist backup run``, beside running schedulers.

        Returns:
            The backup that was made or confirmed; None when there was nothing to do.
        """
        if not self._lease.acquire():
            return None
        try:
            return self._run_due()
        except ExpressoPersistError as error:
            self._note_error(error)
            raise
        finally:
            if not self._scheduler.alive:
                self._lease.release()

    def start(self) -> None:
        """Make automatic backups in a background thread from now on."""
        self._scheduler.start()

    def stop(self, grace: float = 10.0) -> None:
        """Stop the background thread, after the backup it is making.

        Args:
            grace: Seconds to wait for it.
        """
        was_alive = self._scheduler.alive
        if self._scheduler.stop(grace) and was_alive:
            try:
                self._lease.release()
            except ExpressoPersistError as error:
                self._note_error(error)  # it expires by itself

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run_due(self) -> Backup | None:
        with self._database.read() as connection:
            left = self._due.seconds_left(connection)
            unverified = self._catalog.unverified(connection)
        if unverified is not None:  # its maker died before it could check it
            self._verify(unverified.id, None)
        if left > 0:
            return None
        backup = self._create("automatic", "", "scheduler", lease=self._lease)
        if backup is not None and backup.confirmed_at is None:
            self.rotate()
        return backup

    def _tick(self) -> float:
        """What the scheduler does each time; gives back the seconds until the next time."""
        with self._database.read() as connection:
            lease = self._lease.view(connection)
        ttl = self._lease.ttl.total_seconds()
        jitter = random.uniform(0, ttl / 10)  # noqa: S311 - spreads processes, no secret
        if lease.live and lease.holder != self._lease.holder:
            return lease.seconds_left + jitter
        if not self._lease.acquire():
            return ttl / 2 + jitter
        try:
            self._run_due()
        except BaseException:
            # Another process may be luckier. If releasing fails too, the lease expires.
            self._release_quietly()
            raise
        with self._database.read() as connection:
            left = self._due.seconds_left(connection)
        # The holder comes back before the lease expires, to renew it.
        return min(left + jitter / 10, ttl / 3)

    def _release_quietly(self) -> None:
        try:
            self._lease.release()
        except ExpressoPersistError as error:
            self._note_error(error)

    def _note_error(self, error: BaseException) -> None:
        self._last_error = describe(error)


def _keep(lease: Lease | None) -> None:
    """Renew a lease between two steps of the work; stop when it was taken over."""
    if lease is not None and not lease.acquire():
        raise _lost()


def _lost() -> Busy:
    return Busy("Another process took the backup over, because this one was too slow.")


def _receipt(plan: RestorePlan) -> str:
    return dumps(plan.to_json())
