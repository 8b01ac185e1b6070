"""Carrying a restore out, and proving that it did what it should.

A restore is "diff the backup against what is stored, commit the difference". The plan is
made again under the tenant's lock, so what is committed fits what is stored at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.restore_plan import (
    RestorePlan,
    Scope,
    made_again,
    make_plan,
    replayed_plan,
)
from expresso_persist.commits.decision import Decision
from expresso_persist.commits.protection import Protection
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State, read_head
from expresso_persist.db.leases import exclusive
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.json_text import dumps
from expresso_persist.model.records import Commit, Record

__all__ = [
    "RESTORE",
    "RestoreKey",
    "Restorer",
    "differing_kinds",
    "restored_note",
    "rewind",
]

RESTORE = "restore"
"""The source of commits that restore a backup."""

_TTL = 60.0  # seconds after which a restore whose process died no longer blocks others
_PAGE = 500


@attrs.frozen
class RestoreKey:
    """The name that a client gave a restore, if any, and what was asked under it."""

    name: str | None
    request: str | bytes


@attrs.frozen
class Restorer:
    """Restores into one tenant, one restore at a time.

    Attributes:
        repository: The data that is written.
        catalog: The backups.
        chunks: Their contents.
        make_safety_backup: Makes the backup of the state before.
    """

    repository: InventoryRepository
    catalog: Catalog
    chunks: ChunkStore
    make_safety_backup: Callable[[str, str], Backup]

    def plan(self, backup_id: str, scope: Scope) -> tuple[RestorePlan, list[Record]]:
        """What a restore would do now, and the backup's records inside ``scope``."""
        with self.repository.database.read() as connection:
            return make_plan(connection, self.catalog, self.chunks, backup_id, scope)

    def restore(
        self, backup_id: str, scope: Scope, actor: str, key: RestoreKey, *, dry_run: bool
    ) -> RestorePlan:
        """Restore a backup, unless an earlier request with the key did; or only say what for."""
        earlier = self.replay(scope, actor, key)
        if earlier is not None and not dry_run:
            return earlier
        dry, wanted = self.plan(backup_id, scope)
        if dry_run:
            return dry
        if dry.plan.empty and key.name is None:
            return attrs.evolve(dry, dry_run=False)
        return self.carry_out(dry, scope, wanted, actor, key)

    def replay(self, scope: Scope, actor: str, key: RestoreKey) -> RestorePlan | None:
        """What an earlier restore under the same key did, if there was one.

        Raises:
            IdempotencyMismatch: The key was used for another request.
        """
        commit = self.repository.replay(actor, key.name, key.request)
        return None if commit is None else replayed_plan(commit, scope)

    def carry_out(
        self,
        dry: RestorePlan,
        scope: Scope,
        wanted: Sequence[Record],
        actor: str,
        key: RestoreKey,
    ) -> RestorePlan:
        """Commit what makes the stored records inside ``scope`` equal to ``wanted``.

        Raises:
            Busy: Another restore or an import is running.
            BackupCorrupted: The state afterwards is not the backup's.
        """
        database, tenant = self.repository.database, self.repository.tenant
        with exclusive(database, tenant, actor=actor, work="restoring a backup", ttl=_TTL):
            # The same request may have been carried out since it was looked for.
            earlier = self.replay(scope, actor, key)
            if earlier is not None:
                return earlier
            note = f"Before restoring {dry.backup.id}"
            protection = Protection(
                self.repository, lambda: self.make_safety_backup(note, actor).id
            )
            result = protection.run(
                lambda: self._commit(dry, scope, wanted, actor, protection, key)
            )
        if protection.backup_id is not None:
            self._prove(result, scope, wanted)
        return result

    def _commit(
        self,
        dry: RestorePlan,
        scope: Scope,
        wanted: Sequence[Record],
        actor: str,
        protection: Protection,
        key: RestoreKey,
    ) -> RestorePlan:
        def decide(state: State) -> Decision:
            plan = dry
            if not dry.plan.empty:  # else there is nothing to do; only the key is remembered
                # Somebody may have written since the dry run, and the commit may be repeated.
                plan = made_again(dry, state, wanted)
                if not plan.plan.empty:
                    protection.require(state)
            done = attrs.evolve(
                plan, dry_run=False, committed=True, safety_backup_id=protection.backup_id
            )
            return Decision(
                plan.plan.operations(),
                lambda revision: dumps(attrs.evolve(done, revision=revision).to_json()),
                value=done,
            )

        commit = self.repository.commit(
            decide,
            actor=actor,
            source=RESTORE,
            note=restored_note(dry.backup.id),
            idempotency_key=key.name,
            request=key.request,
            scanned=True,
        )
        if commit.replayed:  # pragma: no cover - the lease ran out, and another one was faster
            return replayed_plan(commit, scope)
        done: RestorePlan = commit.value
        return attrs.evolve(done, revision=commit.revision, committed=commit.stored)

    def _prove(self, result: RestorePlan, scope: Scope, wanted: Sequence[Record]) -> None:
        """Compare the state right after the restore with the backup's."""
        with self.repository.database.read() as connection:
            head = read_head(connection, self.repository.tenant)
            stored = scope.current(State(connection, self.repository.tenant))
        if head is not None and head.revision > result.revision:
            newer = (
                commit
                for commit in self._commits_since(result.revision)
                if commit.revision <= head.revision
            )
            stored = scope.filter(rewind(stored, newer))
        differing = differing_kinds(stored, wanted)
        if differing:
            raise BackupCorrupted(
                f"The restore was committed as revision {result.revision}, but "
                f"{', '.join(differing)} is not what the backup holds. The state before is "
                f"in safety backup {result.safety_backup_id}.",
                context={"revision": result.revision},
            )

    def _commits_since(self, revision: int) -> Iterator[Commit]:
        while page := self.repository.commits(revision, _PAGE):
            yield from page
            revision = page[-1].revision


def restored_note(backup_id: str) -> str:
    """The note of the commit that restores a backup."""
    return f"Restored backup {backup_id}"


def rewind(records: Iterable[Record], newer: Iterable[Commit]) -> list[Record]:
    """Take commits back, so that a state that clients went on writing to can be judged."""
    by_key = {record.key: record for record in records}
    for commit in sorted(newer, key=lambda commit: commit.revision, reverse=True):
        for change in reversed(commit.changes):
            if change.before is None:
                by_key.pop(change.key, None)
            else:
                by_key[change.key] = change.before
    return list(by_key.values())


def differing_kinds(stored: Iterable[Record], wanted: Iterable[Record]) -> list[str]:
    """The kinds that are not as they should be; empty when the restore did what it should."""
    left = {record.key: record for record in stored}
    differing = {record.kind for record in wanted if left.pop(record.key, None) != record}
    return sorted(differing | {record.kind for record in left.values()})
