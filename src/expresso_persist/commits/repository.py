"""InventoryRepository: reads, and the one way to write.

Everything that changes data goes through :meth:`InventoryRepository.commit`: operations,
applied in one transaction, move the tenant's revision by one and leave one change per
record touched.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits import audit, idempotency
from expresso_persist.commits.as_of import AsOf, head_as_of, state_as_of
from expresso_persist.commits.audit import VerificationReport
from expresso_persist.commits.decision import CommitRequest, Decide, Decision
from expresso_persist.commits.hash_chain import GENESIS
from expresso_persist.commits.idempotency import fingerprint_of
from expresso_persist.commits.offers import Standing
from expresso_persist.commits.state import HEAD, State, read_head
from expresso_persist.commits.trail import (
    ChangePage,
    commit_of_key,
    read_commits,
    read_cursor,
    read_page,
    replayed,
)
from expresso_persist.commits.writing import CommitWriter
from expresso_persist.db.database import Database
from expresso_persist.db.tables import RECORD_TABLES, commits
from expresso_persist.documents import render
from expresso_persist.documents.render import Device, Document
from expresso_persist.errors import IdempotencyMismatch, InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import (
    RECORD_TYPES,
    Commit,
    Head,
    Operation,
    Record,
    checked_key,
    checked_type,
)

__all__ = ["InventoryRepository", "Snapshot"]


@attrs.frozen
class Snapshot:
    """All records of a tenant at one revision, in an order that only depends on them."""

    head: Head
    records: tuple[Record, ...]


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
        row = self.database.fetch_one(HEAD, {"tenant": self.tenant})
        return Head(*row) if row is not None else self._ensure_tenant()

    def exists(self) -> bool:
        """Whether the tenant is there; unlike other reads this does not make it."""
        return self.database.fetch_one(HEAD, {"tenant": self.tenant}) is not None

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
        operations: Iterable[Operation] | Decision | Decide,
        *,
        actor: str,
        source: str = "api",
        note: str = "",
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
        expected_revision: int | None = None,
        standing: Standing | None = None,
        scanned: bool = False,
    ) -> Commit:
        """Apply operations in one transaction: all of them or none.

        Args:
            operations: The operations, or a
                :class:`~expresso_persist.commits.decision.Decision` with more than these, or a
                function that gives either from the state under the tenant's lock. The
                returned commit has the decision's ``value``.
            actor: Who does it; it goes into the audit trail.
            source: What it comes from, such as ``api``, ``import`` or ``restore``.
            note: Free text for people.
            idempotency_key: The client's name for the request. The same key of the same
                actor again returns the first commit and applies nothing.
            request: What was asked, to tell a repetition from another request.
            expected_revision: Refuse unless the tenant is at this revision.
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
        asked = CommitRequest(
            actor=actor,
            source=source,
            note=note,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint_of(request),
            expected_revision=expected_revision,
            standing=standing,
            scanned=scanned,
        )
        # A repetition of the transaction needs them all again; an iterator gives them once.
        wanted = tuple(operations) if isinstance(operations, Iterable) else operations
        commit = self.database.transact(
            lambda connection: self.commit_within(connection, wanted, asked)
        )
        if commit.stored and not commit.replayed:
            self.database.committed(self.tenant, commit.revision)
        return commit

    def commit_within(
        self,
        connection: Connection,
        operations: Iterable[Operation] | Decision | Decide,
        request: CommitRequest,
    ) -> Commit:
        """Like :meth:`commit`, as a part of a write transaction that does more."""
        return CommitWriter(self.database, connection, self.tenant).commit(operations, request)

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
            row = commit_of_key(connection, self.tenant, actor, idempotency_key)
            if row is not None:
                return replayed(connection, self.tenant, row, fingerprint_of(request))
            if idempotency.is_taken(connection, self.tenant, actor, idempotency_key):
                raise IdempotencyMismatch  # by a request that is no commit
            return None

    def _ensure_tenant(self) -> Head:
        def add(connection: Connection) -> Head:
            CommitWriter(self.database, connection, self.tenant).add_tenant()
            head = read_head(connection, self.tenant)
            assert head is not None
            return head

        return self.database.transact(add)

    # -- the trail ------------------------------------------------------------------------

    def commits(self, since: int = 0, limit: int = 100) -> list[Commit]:
        """Commits after revision ``since``, oldest first, with their changes."""
        json_text.check_whole(since=since, limit=limit)
        with self.database.read() as connection:
            return read_commits(connection, self.tenant, since, limit)

    def changes(self, cursor: str | int, limit: int = 100) -> ChangePage:
        """The feed: commits after ``cursor``, an earlier answer's, or 0 for the first ones.

        Raises:
            InvalidInput: The cursor cannot be read.
        """
        position = read_cursor(cursor)
        json_text.check_whole(limit=limit)
        self.head()
        with self.database.read() as connection:
            return read_page(connection, self.tenant, position, limit)

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


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
