"""The write path: what one commit reads, decides and writes inside its transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits import hash_chain, idempotency, offers
from expresso_persist.commits.aliases import refuse_old_name
from expresso_persist.commits.decision import CommitRequest, Decide, Decision
from expresso_persist.commits.state import HEAD, State, insert_tenant, record_row
from expresso_persist.commits.trail import commit_of_key, replayed
from expresso_persist.db import bulk, migrations
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, commits, tenants
from expresso_persist.db.tables import changes as changes_table
from expresso_persist.errors import IdempotencyMismatch, InvalidInput, RevisionConflict
from expresso_persist.model.operations import apply, check, refuse_new_secrets
from expresso_persist.model.records import (
    RECORD_TYPES,
    Change,
    Commit,
    Head,
    Operation,
    Record,
    RecordKey,
)
from expresso_persist.model.secrets import refuse_text

__all__ = ["CommitWriter"]


@attrs.frozen
class CommitWriter:
    """Commits for one tenant inside a write transaction.

    Attributes:
        database: The database.
        connection: The transaction, of :meth:`Database.transact`.
        tenant: The tenant.
    """

    database: Database
    connection: Connection
    tenant: str

    def commit(
        self, operations: Iterable[Operation] | Decision | Decide, request: CommitRequest
    ) -> Commit:
        """Decide and write one commit, or return the first one of a repeated request."""
        head = self.lock()
        repeated = self._repeated(head, request)
        if repeated is not None:
            return repeated
        if request.expected_revision not in (None, head.revision):
            raise RevisionConflict(context={"revision": head.revision})
        state = State(self.connection, self.tenant)
        decision = _decided(operations, state)
        wanted = [*decision.operations]
        check(wanted)
        state.load(operation.key for operation in wanted)
        stored = {operation.key: state.at(operation.key) for operation in wanted}
        changes = self._changes(wanted, stored, request)
        if not request.scanned:
            refuse_new_secrets(changes)
        # A named request is remembered even if it changed nothing, so that its repetition
        # cannot undo a later change; an import without a commit, as the same dump twice is none.
        keyed = request.keyed(self.tenant)
        if not changes and not decision.keep_empty and (not keyed or request.source == "import"):
            if keyed is not None:
                receipt = decision.receipt_at(head.revision)
                idempotency.remember(self.database, self.connection, keyed, request.source, receipt)
            return attrs.evolve(_unchanged(head, request), value=decision.value)
        receipt = decision.receipt_at(head.revision + 1)
        if request.source in ("api", "movement"):
            receipt = offers.with_standing(
                receipt,
                request.standing,
                wanted,
                changes,
                stored,
                movement=request.source == "movement",
            )
        commit = self._write(head, request, changes, receipt)
        return attrs.evolve(commit, value=decision.value)

    def lock(self) -> Head:
        """Take the tenant's lock: one commit at a time, in the order of revisions."""
        query, parameters = self.database.lock_rows(HEAD), {"tenant": self.tenant}
        row = self.connection.execute(query, parameters).one_or_none()
        if row is None:
            self.add_tenant()
            row = self.connection.execute(query, parameters).one()
        return Head(row.epoch, row.revision, row.head_hash)

    def add_tenant(self) -> None:
        """Add the tenant's row, unless it is there."""
        migrations.current(self.connection)  # no new tenant where the old ones were dropped
        refuse_old_name(self.connection, self.tenant)
        refuse_text(tenant=self.tenant)
        insert_tenant(self.database, self.connection, self.tenant)

    def _repeated(self, head: Head, request: CommitRequest) -> Commit | None:
        """What an earlier request did, if this is one that is repeated or offered again."""
        connection, tenant = self.connection, self.tenant
        key, standing, row = request.idempotency_key, request.standing, None
        if key is not None:
            row = commit_of_key(connection, tenant, request.actor, key)
        if row is None and standing is not None:
            row = offers.survivor(connection, tenant, head, key, standing)
            if row is not None and row.idempotency_key != key:
                raise IdempotencyMismatch
            if key is None and standing.acknowledged is not None:
                raise InvalidInput("A write that is offered again carries its Idempotency-Key.")
        if row is not None:
            return replayed(connection, tenant, row, request.fingerprint, head.epoch)
        keyed = request.keyed(tenant)
        known = None if keyed is None else idempotency.find(connection, keyed)
        if known is None:
            return None
        return attrs.evolve(_unchanged(head, request), receipt=known.answer, replayed=True)

    def _changes(
        self,
        wanted: Sequence[Operation],
        stored: Mapping[RecordKey, Record | None],
        request: CommitRequest,
    ) -> list[Change]:
        standing = request.standing
        if standing is None or standing.acknowledged is None:
            return apply(wanted, stored.__getitem__)
        # The revisions that an offered write expects are those of the lost timeline.
        now = apply((attrs.evolve(op, expected_revision=None) for op in wanted), stored.__getitem__)
        return offers.rebased(
            self.connection,
            self.tenant,
            standing,
            wanted,
            now,
            stored,
            movement=request.source == "movement",
        )

    def _write(
        self, head: Head, request: CommitRequest, changes: Sequence[Change], receipt: str | None
    ) -> Commit:
        now, rows = dt.datetime.now(dt.UTC), hash_chain.change_rows(changes)
        commit = Commit(
            head.revision + 1,
            request.actor,
            request.source,
            request.note,
            now,
            hash_chain.commit_hash(
                head.hash,
                tenant=self.tenant,
                revision=head.revision + 1,
                actor=request.actor,
                source=request.source,
                note=request.note,
                created_at=now,
                idempotency_key=request.idempotency_key,
                fingerprint=request.fingerprint,
                receipt=receipt,
                rows=rows,
            ),
            tuple(changes),
            request.idempotency_key,
            receipt,
            epoch=head.epoch,
            previous=head.hash,
        )
        self._write_records(commit)
        self._write_log(commit, request.fingerprint, rows)
        return commit

    def _write_records(self, commit: Commit) -> None:
        by_kind: dict[str, tuple[list[Change], list[Change], list[Change]]] = {}
        for change in commit.changes:
            added, changed, removed = by_kind.setdefault(change.key.kind, ([], [], []))
            where = removed if change.after is None else changed if change.before else added
            where.append(change)
        database, connection, tenant = self.database, self.connection, self.tenant
        for kind, (added, changed, removed) in by_kind.items():
            table = RECORD_TABLES[kind]
            keys = RECORD_TYPES[kind].key_columns
            gone = [
                {"tenant_id": tenant, **dict(zip(keys, change.key.parts, strict=True))}
                for change in removed
            ]
            bulk.delete(connection, table, tenant, gone)
            database.bulk_insert(connection, table, self._rows(added, commit), len(added))
            written = list(self._rows(changed, commit))
            bulk.update(connection, table, tenant, written, keep=("created_at",))

    def _rows(self, changes: Iterable[Change], commit: Commit) -> Iterator[Mapping[str, Any]]:
        for change in changes:
            assert change.after is not None
            yield record_row(
                change.after, self.tenant, commit.revision, commit.created_at, commit.actor
            )

    def _write_log(
        self,
        commit: Commit,
        fingerprint: str | None,
        rows: Sequence[hash_chain.ChangeRow],
    ) -> None:
        self.connection.execute(
            sa.insert(commits),
            {
                "tenant_id": self.tenant,
                "revision": commit.revision,
                "actor": commit.actor,
                "source": commit.source,
                "note": commit.note,
                "idempotency_key": commit.idempotency_key,
                "request_fingerprint": fingerprint,
                "receipt": commit.receipt,
                "created_at": commit.created_at,
                "hash": commit.hash,
            },
        )
        self.database.bulk_insert(
            self.connection,
            changes_table,
            (
                {
                    "tenant_id": self.tenant,
                    "revision": commit.revision,
                    "ordinal": ordinal,
                    "kind": row.kind,
                    "record_key": row.record_key,
                    "before": row.before,
                    "after": row.after,
                }
                for ordinal, row in enumerate(rows)
            ),
            len(rows),
        )
        moved = (
            sa.update(tenants)
            .where(tenants.c.tenant_id == self.tenant)
            .values(revision=commit.revision, head_hash=commit.hash)
        )
        self.connection.execute(self.database.announcing(moved, self.tenant, commit.revision))


def _decided(operations: Iterable[Operation] | Decision | Decide, state: State) -> Decision:
    decided = operations(state) if callable(operations) else operations
    if isinstance(decided, Decision):
        return decided
    if not isinstance(decided, Iterable):
        raise InvalidInput("operations is a list of operations, or a function that decides it.")
    return Decision(decided)


def _unchanged(head: Head, request: CommitRequest) -> Commit:
    """The commit that stands for a request that wrote nothing."""
    return Commit(
        head.revision,
        request.actor,
        request.source,
        request.note,
        dt.datetime.now(dt.UTC),
        head.hash,
        stored=False,
        epoch=head.epoch,
    )
