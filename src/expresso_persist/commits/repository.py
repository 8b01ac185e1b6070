"""InventoryRepository: reads, and the one way to write.

Everything that changes data goes through :meth:`InventoryRepository.commit`: operations,
applied in one transaction, move the tenant's revision by one and leave one change per
record touched.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits import audit, hash_chain, idempotency, offers
from expresso_persist.commits.aliases import refuse_old_name
from expresso_persist.commits.as_of import AsOf, head_as_of, state_as_of
from expresso_persist.commits.audit import VerificationReport
from expresso_persist.commits.hash_chain import GENESIS, ChangeRow
from expresso_persist.commits.idempotency import KeyedRequest, fingerprint_of
from expresso_persist.commits.offers import Standing
from expresso_persist.commits.state import (
    HEAD,
    State,
    forgotten_through,
    insert_tenant,
    read_head,
    record_row,
)
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, commits, tenants
from expresso_persist.db.tables import changes as changes_table
from expresso_persist.documents import render
from expresso_persist.documents.render import Device, Document
from expresso_persist.errors import (
    IdempotencyMismatch,
    InvalidInput,
    Problem,
    RevisionConflict,
)
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import apply, check, refuse_new_secrets
from expresso_persist.model.records import (
    CURSOR_DIGITS,
    RECORD_TYPES,
    Change,
    Commit,
    Head,
    Operation,
    Record,
    checked_key,
    checked_type,
)
from expresso_persist.model.secrets import refuse_text

__all__ = [
    "ChangePage",
    "InventoryRepository",
    "Snapshot",
    "VerificationReport",
    "read_cursor",
]

Decide: TypeAlias = Callable[[State], Iterable[Operation]]


@attrs.frozen
class Snapshot:
    """All records of a tenant at one revision, in an order that only depends on them."""

    head: Head
    records: tuple[Record, ...]


@attrs.frozen
class ChangePage:
    """A page of the change feed.

    Attributes:
        commits: The commits after the cursor, oldest first.
        cursor: What to ask for next.
        reset: The server does not have what is after the cursor: the database was replaced
            by another or older copy, or that history was forgotten. The client has to read
            everything anew.
        has_more: There are more commits after these.
    """

    commits: tuple[Commit, ...]
    cursor: str
    reset: bool
    has_more: bool


class InventoryRepository:
    """The data of one tenant.

    Attributes:
        database: Where it is stored.
        tenant: Whose it is.
    """

    def __init__(self, database: Database, tenant: str = "default") -> None:
        """Look at ``tenant``'s data in ``database``; nothing is read or written yet."""
        json_text.check_storable(tenant=tenant)
        if not tenant or len(tenant) > 256:
            raise InvalidInput("A tenant's name has 1 to 256 characters.")
        self.database: Database = database.of(tenant)
        self.tenant = tenant

    # -- reading --------------------------------------------------------------------------
    # ``as_of``, where it is taken: a revision, or a time with its offset, to read what was
    # stored then. HistoryForgotten when the changes since then are not all there any more.

    def head(self) -> Head:
        """Where the tenant stands; one look-up by primary key."""
        row = self.database.look_up(HEAD, {"tenant": self.tenant})
        return Head(*row) if row is not None else self._ensure_tenant()

    def exists(self) -> bool:
        """Whether the tenant is there; unlike other reads this does not make it."""
        return self.database.look_up(HEAD, {"tenant": self.tenant}) is not None

    def get(self, kind: str, *parts: str, as_of: AsOf | None = None) -> Record | None:
        """One record, or None.

        Raises:
            InvalidInput: There is no such kind, or its keys have other parts.
        """
        checked_key(kind, parts)
        with self.database.read() as connection:
            return self._state(connection, as_of)[1].get(kind, *parts)

    def records(self, kind: str | None = None, *, as_of: AsOf | None = None) -> list[Record]:
        """The records of a kind, or all, by container and position.

        Raises:
            InvalidInput: There is no such kind.
        """
        if kind is not None:
            checked_type(kind)
        with self.database.read() as connection:
            state = self._state(connection, as_of)[1]
            kinds = [kind] if kind is not None else list(RECORD_TYPES)
            return [record for name in kinds for record in state.records(name)]

    def snapshot(self, connection: Connection | None = None) -> Snapshot:
        """All records at one revision.

        Args:
            connection: Read inside this transaction instead of one of its own.
        """
        if connection is None:
            self.head()
            with self.database.read() as own:
                return self.snapshot(own)
        head = read_head(connection, self.tenant) or Head("", 0, GENESIS)
        state = State(connection, self.tenant)
        return Snapshot(
            head,
            tuple(
                record
                for kind in sorted(RECORD_TYPES)
                for record in sorted(state.all(kind), key=lambda record: record.parts)
            ),
        )

    def inventory_json(self, *, as_of: AsOf | None = None) -> tuple[Head, bytes]:
        """All inventory as JSON text in the shapes it came in, and the revision it shows."""
        self.head()
        with self.database.read() as connection:
            head, state = self._state(connection, as_of)
            return head, render.inventory(state)

    def document(
        self, key: str, device_id: str = "", *, as_of: AsOf | None = None
    ) -> Document | None:
        """One localStorage document, or None."""
        json_text.check_storable(key=key, device_id=device_id)
        if not key:
            return None
        with self.database.read() as connection:
            return render.read(self._state(connection, as_of)[1], key, device_id)

    def dump(self, device_id: str | None = None, *, as_of: AsOf | None = None) -> dict[str, Any]:
        """Every stored document as a localStorage dump that a browser can load.

        Args:
            device_id: Whose preferences to include; None takes, for each key, those of
                the device that wrote it last. The dump says from which device each is, and
                which devices there are.
            as_of: Show them as they were.

        Raises:
            InvalidInput: The device's name is none.
        """
        json_text.check_storable(device_id=device_id)
        self.head()
        with self.database.read() as connection:
            head, state = self._state(connection, as_of)
            content = render.dump(state, device_id)
        return {**content, "epoch": head.epoch, "revision": head.revision}

    def devices(self, *, as_of: AsOf | None = None) -> list[Device]:
        """The browsers whose preferences are stored, by name."""
        self.head()
        with self.database.read() as connection:
            return render.devices(self._state(connection, as_of)[1])

    def settings(self) -> dict[str, Json]:
        """The settings by key."""
        return {record.parts[0]: record.data for record in self.records("setting")}

    def stats(self) -> dict[str, Any]:
        """Counts per kind and the time of the last change."""
        names = {
            "event_inventory_items": "event_inventory",
            "stock_items": "event_stock",
            "station_configs": "station_config",
            "station_quantities": "station_quantity",
            "station_stock_items": "station_stock",
            "settings": "setting",
            "documents": "document",
            "quarantined": "quarantined",
        }
        self.head()
        with self.database.read() as connection:
            counts: dict[str, Any] = {}
            for name, kind in names.items():
                table = RECORD_TABLES[kind]
                counts[name] = connection.scalar(
                    sa.select(sa.func.count()).where(table.c.tenant_id == self.tenant)
                )
            head = read_head(connection, self.tenant)
            assert head is not None
            last = connection.scalar(
                sa.select(commits.c.created_at).where(
                    commits.c.tenant_id == self.tenant, commits.c.revision == head.revision
                )
            )
        counts["last_update"] = None if last is None else _iso(last)
        counts["revision"] = head.revision
        return counts

    def _state(self, connection: Connection, as_of: AsOf | None) -> tuple[Head, State]:
        if as_of is None:
            head = read_head(connection, self.tenant) or Head("", 0, GENESIS)
            return head, State(connection, self.tenant)
        head = head_as_of(connection, self.tenant, as_of)
        return head, state_as_of(connection, self.tenant, head.revision)

    # -- writing --------------------------------------------------------------------------

    def commit(
        self,
        operations: Iterable[Operation] | Decide,
        *,
        actor: str,
        source: str = "api",
        note: str = "",
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
        expected_revision: int | None = None,
        receipt: str | Callable[[int], str] | None = None,
        keep_empty: bool = False,
        standing: Standing | None = None,
        scanned: bool = False,
    ) -> Commit:
        """Apply operations in one transaction: all of them or none.

        Args:
            operations: What to do, or a function that decides it from the state under
                the tenant's lock.
            actor: Who does it; it goes into the audit trail.
            source: What it comes from, such as ``api``, ``import`` or ``restore``.
            note: Free text for people.
            idempotency_key: The client's name for the request. The same key of the same
                actor again returns the first commit and applies nothing.
            request: What was asked, to tell a repetition from another request.
            expected_revision: Refuse unless the tenant is at this revision.
            receipt: JSON text to keep with the commit, or a function that writes it from
                the new revision.
            keep_empty: Make a commit even if nothing changed, because that it happened is
                news: a count that found what was stored.
            standing: What the client knows of the timeline; see
                :class:`~expresso_persist.commits.offers.Standing`.
            scanned: The values were looked through for secrets already, as an import does
                document by document, or were stored before, as what a restore gives back.

        Raises:
            RevisionConflict: The tenant or a record moved on.
            TimelineLost: The database lost what the client builds on.
            OfferConflict: A write is offered again, and what it sets was changed since.
            IdempotencyMismatch: The key was used for another request.
            InvalidInput: An operation does not fit the value it is for, or a text cannot be
                stored, or is or holds a secret.
            DatabaseUnavailable: The database does not answer.
        """
        fingerprint = fingerprint_of(request)
        # A repetition of the transaction needs them all again; an iterator gives them once.
        wanted = tuple(operations) if isinstance(operations, Iterable) else operations

        def work(connection: Connection) -> Commit:
            return self.commit_within(
                connection,
                wanted,
                actor=actor,
                source=source,
                note=note,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                expected_revision=expected_revision,
                receipt=receipt,
                keep_empty=keep_empty,
                standing=standing,
                scanned=scanned,
            )

        commit = self.database.transact(work)
        if commit.stored and not commit.replayed:
            self.database.committed(self.tenant, commit.revision)
        return commit

    def replay(
        self, actor: str, idempotency_key: str | None, request: str | bytes | None
    ) -> Commit | None:
        """The commit that an earlier request with this key made, if there was one.

        Raises:
            IdempotencyMismatch: The key was used for another request.
        """
        if idempotency_key is None:
            return None
        json_text.check_storable(actor=actor, idempotency_key=idempotency_key)
        with self.database.read() as connection:
            row = self._named(connection, actor, idempotency_key)
            if row is not None:
                return self._again(connection, row, fingerprint_of(request))
            if idempotency.is_taken(connection, self.tenant, actor, idempotency_key):
                raise IdempotencyMismatch  # by a request that is no commit
            return None

    def commit_within(
        self,
        connection: Connection,
        operations: Iterable[Operation] | Decide,
        *,
        actor: str,
        source: str = "api",
        note: str = "",
        idempotency_key: str | None = None,
        fingerprint: str | None = None,
        expected_revision: int | None = None,
        receipt: str | Callable[[int], str] | None = None,
        keep_empty: bool = False,
        standing: Standing | None = None,
        scanned: bool = False,
    ) -> Commit:
        """Like :meth:`commit`, as a part of a write transaction that does more.

        Args:
            connection: The transaction, of :meth:`Database.transact`.
            operations: As of :meth:`commit`, like all that follow.
            actor: Who does it.
            source: What it comes from.
            note: Free text for people.
            idempotency_key: The client's name for the request.
            fingerprint: Digest of the request, to tell a repetition from another one.
            expected_revision: Refuse unless the tenant is at this revision.
            receipt: JSON text to keep with the commit.
            keep_empty: Make a commit even if nothing changed.
            standing: What the client knows of the timeline.
            scanned: The values need not be looked through for secrets.
        """
        json_text.check_storable(actor=actor, note=note, idempotency_key=idempotency_key)
        refuse_text(actor=actor, note=note, idempotency_key=idempotency_key)
        if not isinstance(standing, Standing | None):
            raise InvalidInput("standing is an expresso_persist.commits.offers.Standing, or None.")
        head = self._lock(connection)
        earlier = self._earlier(connection, head, actor, idempotency_key, standing)
        if earlier is not None:
            return self._again(connection, earlier, fingerprint, head.epoch)
        request = (
            None
            if idempotency_key is None
            else KeyedRequest(self.tenant, actor, idempotency_key, fingerprint)
        )
        known = None if request is None else idempotency.look_up(connection, request)
        unchanged = Commit(
            head.revision,
            actor,
            source,
            note,
            dt.datetime.now(dt.UTC),
            head.hash,
            stored=False,
            epoch=head.epoch,
        )
        if known is not None:
            return attrs.evolve(unchanged, receipt=known.answer, replayed=True)
        if expected_revision is not None and expected_revision != head.revision:
            raise RevisionConflict(context={"revision": head.revision})
        state = State(connection, self.tenant)
        if not callable(operations) and not isinstance(operations, Iterable):
            raise InvalidInput("operations is a list of operations, or a function that decides it.")
        wanted = list(operations(state) if callable(operations) else operations)
        check(wanted)
        state.load(operation.key for operation in wanted)
        offered = standing is not None and standing.acknowledged is not None
        # The revisions that an offered write expects are those of the lost timeline.
        now_wanted = [attrs.evolve(op, expected_revision=None) for op in wanted]
        changes = apply(now_wanted if offered else wanted, state.at)
        if standing is not None and offered:
            changes = offers.rebased(
                connection,
                self.tenant,
                standing,
                wanted,
                changes,
                {operation.key: state.at(operation.key) for operation in wanted},
                movement=source == "movement",
            )
        if not scanned:
            refuse_new_secrets(changes)
        # A named request is remembered even if it changed nothing, so that its repetition
        # cannot undo a later change; an import without a commit, as the same dump twice is none.
        if not changes and not keep_empty and (request is None or source == "import"):
            if request is not None:
                answer = receipt(head.revision) if callable(receipt) else receipt
                idempotency.remember(self.database, connection, request, source, answer)
            return unchanged
        now = dt.datetime.now(dt.UTC)
        revision = head.revision + 1
        rows = hash_chain.change_rows(changes)
        told = receipt(revision) if callable(receipt) else receipt
        if source in ("api", "movement"):
            told = offers.with_standing(
                told,
                standing,
                wanted,
                changes,
                {operation.key: state.at(operation.key) for operation in wanted},
                movement=source == "movement",
            )
        commit = Commit(
            revision,
            actor,
            source,
            note,
            now,
            hash_chain.commit_hash(
                head.hash,
                tenant=self.tenant,
                revision=revision,
                actor=actor,
                source=source,
                note=note,
                created_at=now,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                receipt=told,
                rows=rows,
            ),
            tuple(changes),
            idempotency_key,
            told,
            epoch=head.epoch,
            previous=head.hash,
        )
        self._write_records(connection, commit)
        self._write_log(connection, commit, fingerprint, rows)
        return commit

    def _ensure_tenant(self) -> Head:
        def add(connection: Connection) -> Head:
            self._add_tenant(connection)
            head = read_head(connection, self.tenant)
            assert head is not None
            return head

        return self.database.transact(add)

    def _add_tenant(self, connection: Connection) -> None:
        migrations.current(connection)  # no new tenant where the old ones were dropped
        refuse_old_name(connection, self.tenant)
        refuse_text(tenant=self.tenant)
        insert_tenant(self.database, connection, self.tenant)

    def _lock(self, connection: Connection) -> Head:
        """Take the tenant's lock: one commit at a time, in the order of revisions."""
        query = sa.select(tenants.c.epoch, tenants.c.revision, tenants.c.head_hash).where(
            tenants.c.tenant_id == self.tenant
        )
        row = connection.execute(self.database.lock_rows(query)).one_or_none()
        if row is None:
            self._add_tenant(connection)
            row = connection.execute(self.database.lock_rows(query)).one()
        return Head(row.epoch, row.revision, row.head_hash)

    def _named(self, connection: Connection, actor: str, key: str) -> sa.Row[Any] | None:
        """The commit of an actor's request with this key."""
        return connection.execute(
            sa.select(commits).where(
                commits.c.tenant_id == self.tenant,
                commits.c.actor == actor,
                commits.c.idempotency_key == key,
            )
        ).one_or_none()

    def _again(
        self, connection: Connection, row: sa.Row[Any], fingerprint: str | None, epoch: str = ""
    ) -> Commit:
        """The first commit of a request that is repeated."""
        if row.request_fingerprint != fingerprint:
            raise IdempotencyMismatch
        before = connection.scalar(
            sa.select(commits.c.hash).where(
                commits.c.tenant_id == self.tenant, commits.c.revision == row.revision - 1
            )
        )
        return attrs.evolve(
            self._with_changes(connection, [row])[0],
            replayed=True,
            epoch=epoch,
            previous=GENESIS if before is None else before,
        )

    def _earlier(
        self,
        connection: Connection,
        head: Head,
        actor: str,
        key: str | None,
        standing: Standing | None,
    ) -> sa.Row[Any] | None:
        """The commit that did this request before, by its key or by its position."""
        row = None if key is None else self._named(connection, actor, key)
        if row is not None or standing is None:
            return row
        row = offers.survivor(connection, self.tenant, head, key, standing)
        if row is not None and row.idempotency_key != key:
            raise IdempotencyMismatch
        if key is None and standing.acknowledged is not None:
            raise InvalidInput("A write that is offered again carries its Idempotency-Key.")
        return row

    def _write_records(self, connection: Connection, commit: Commit) -> None:
        by_kind: dict[str, tuple[list[Change], list[Change], list[Change]]] = {}
        for change in commit.changes:
            added, changed, removed = by_kind.setdefault(change.key.kind, ([], [], []))
            where = removed if change.after is None else changed if change.before else added
            where.append(change)
        database, tenant = self.database, self.tenant
        for kind, (added, changed, removed) in by_kind.items():
            table = RECORD_TABLES[kind]
            keys = RECORD_TYPES[kind].key_columns
            gone = [
                {"tenant_id": tenant, **dict(zip(keys, change.key.parts, strict=True))}
                for change in removed
            ]
            database.bulk_delete(connection, table, tenant, gone)
            database.bulk_insert(connection, table, self._rows(added, commit), len(added))
            written = list(self._rows(changed, commit))
            database.bulk_update(connection, table, tenant, written, keep=("created_at",))

    def _rows(self, changes: Iterable[Change], commit: Commit) -> Iterator[Mapping[str, Any]]:
        for change in changes:
            assert change.after is not None
            yield record_row(
                change.after, self.tenant, commit.revision, commit.created_at, commit.actor
            )

    def _write_log(
        self,
        connection: Connection,
        commit: Commit,
        fingerprint: str | None,
        rows: Sequence[ChangeRow],
    ) -> None:
        connection.execute(
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
            connection,
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
        connection.execute(self.database.announcing(moved, self.tenant, commit.revision))

    # -- the trail ------------------------------------------------------------------------

    def commits(self, since: int = 0, limit: int = 100) -> list[Commit]:
        """Commits after revision ``since``, oldest first, with their changes."""
        json_text.check_whole(since=since, limit=limit)
        with self.database.read() as connection:
            return self._commits(connection, since, limit)

    def changes(self, cursor: str | int, limit: int = 100) -> ChangePage:
        """The feed: commits after ``cursor``, an earlier answer's, or 0 for the first ones.

        Raises:
            InvalidInput: The cursor cannot be read.
        """
        epoch, revision, prefix = read_cursor(cursor)
        json_text.check_whole(limit=limit)
        self.head()
        with self.database.read() as connection:
            head = read_head(connection, self.tenant)
            assert head is not None
            known = revision <= head.revision and epoch in (None, head.epoch)
            if known and prefix and revision:
                stored = connection.scalar(
                    sa.select(commits.c.hash).where(
                        commits.c.tenant_id == self.tenant, commits.c.revision == revision
                    )
                )
                # A part of what cursors have of a hash would fit other commits too.
                known = (stored or "").startswith(prefix) and len(prefix) >= CURSOR_DIGITS
            known = known and revision >= forgotten_through(connection, self.tenant)
            if not known:
                return ChangePage((), head.cursor, reset=True, has_more=False)
            found = self._commits(connection, revision, limit)
        if not found:
            return ChangePage((), head.cursor, reset=False, has_more=False)
        last = found[-1]
        return ChangePage(
            tuple(found),
            Head(head.epoch, last.revision, last.hash).cursor,
            reset=False,
            has_more=last.revision < head.revision,
        )

    def verify(self, *, anchors: Sequence[str] = ()) -> VerificationReport:
        """Walk the audit trail and compare it with what is stored.

        Args:
            anchors: What earlier reports gave as ``anchor``, kept outside the database; or
                cursors. They find that newer commits were cut off.
        """
        if not isinstance(anchors, (list, tuple)):
            raise InvalidInput("anchors is a list of what earlier reports gave.")
        self.head()
        with self.database.read() as connection:
            return audit.verify(connection, self.tenant, [str(anchor) for anchor in anchors])

    def _commits(self, connection: Connection, since: int, limit: int) -> list[Commit]:
        rows = connection.execute(
            sa.select(commits)
            .where(commits.c.tenant_id == self.tenant, commits.c.revision > since)
            .order_by(commits.c.revision)
            .limit(limit)
        ).all()
        return self._with_changes(connection, rows)

    def _with_changes(self, connection: Connection, rows: Sequence[Any]) -> list[Commit]:
        if not rows:
            return []
        found: dict[int, list[Change]] = {}
        for row in connection.execute(
            sa.select(changes_table)
            .where(
                changes_table.c.tenant_id == self.tenant,
                changes_table.c.revision.between(rows[0].revision, rows[-1].revision),
            )
            .order_by(changes_table.c.revision, changes_table.c.ordinal)
        ):
            change = hash_chain.read_change(
                ChangeRow(row.kind, row.record_key, row.before, row.after)
            )
            found.setdefault(row.revision, []).append(change)
        return [
            Commit(
                row.revision,
                row.actor,
                row.source,
                row.note,
                row.created_at,
                row.hash,
                tuple(found.get(row.revision, ())),
                row.idempotency_key,
                row.receipt,
            )
            for row in rows
        ]


def read_cursor(cursor: str | int) -> tuple[str | None, int, str]:
    """Epoch, revision and beginning of the hash; 0 is where every history begins.

    A revision alone is refused: where an older copy of the database was put in, the same
    number is another commit, and what follows it is another history.

    Raises:
        InvalidInput: It is neither a cursor nor 0.
    """
    text = str(cursor)
    if text == "0":
        return None, 0, ""
    epoch, _, rest = text.partition(".")
    number, _, prefix = rest.partition(".")
    if epoch and number.isascii() and number.isdigit() and len(number) <= 18 and prefix:
        return epoch, int(number), prefix
    alone = text.isascii() and text.isdigit()
    raise InvalidInput(
        (
            "A revision alone does not say which copy of the database it is of; send"
            if alone
            else "The cursor cannot be read; send"
        )
        + " the cursor of an earlier answer, or 0 for everything from the first commit on.",
        problems=[Problem("since", "a cursor or 0")],
    )


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
