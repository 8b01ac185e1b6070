"""The past: what was stored at an earlier revision, taken back from the changes since."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import GENESIS, ChangeRow, read_change
from expresso_persist.commits.state import State, forgotten_through, read_head
from expresso_persist.db.tables import changes, commits
from expresso_persist.errors import HistoryForgotten, InvalidInput, NotFound, Problem
from expresso_persist.model.records import RECORD_TYPES, Head, Record, RecordKey

__all__ = ["AsOf", "PastState", "head_as_of", "read_as_of", "state_as_of"]

AsOf: TypeAlias = int | dt.datetime
"""A revision, or a time with its offset: the last commit that was made by then."""


def read_as_of(text: str) -> AsOf:
    """Read a revision or an ISO 8601 time.

    Raises:
        InvalidInput: It is neither, or a time without an offset.
    """
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    try:
        # A plus sign that was not escaped in a query comes in as a space.
        moment = dt.datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text))
        _check_time(moment)
    except ValueError:
        raise _unreadable() from None
    return moment


def _unreadable() -> InvalidInput:
    return InvalidInput(
        "as_of is a revision, or an ISO 8601 time with its offset, such as "
        "2026-11-23T14:05:00+01:00 or …Z.",
        problems=[Problem("as_of", "a revision or a time with its offset")],
    )


def _check_time(moment: dt.datetime) -> None:
    if moment.tzinfo is None:
        raise _unreadable()
    try:
        moment.astimezone(dt.UTC)
    except OverflowError:  # the first and the last day there is, seen from elsewhere
        raise _unreadable() from None


def head_as_of(connection: Connection, tenant: str, as_of: AsOf) -> Head:
    """Where the tenant stood.

    Raises:
        NotFound: The revision is not there yet.
        HistoryForgotten: The changes since then were forgotten.
        InvalidInput: The time has no offset.
    """
    head = read_head(connection, tenant) or Head("", 0, GENESIS)
    mine = commits.c.tenant_id == tenant
    if isinstance(as_of, dt.datetime):
        _check_time(as_of)
        # Clocks jump, revisions do not: the last one that was made by then.
        revision = (
            connection.scalar(
                sa.select(sa.func.max(commits.c.revision)).where(
                    mine, commits.c.created_at <= as_of
                )
            )
            or 0
        )
    else:
        if isinstance(as_of, bool) or not isinstance(as_of, int):
            raise _unreadable()
        revision = as_of
        if not 0 <= revision <= head.revision:
            raise NotFound(f"There is no revision {revision}; the newest is {head.revision}.")
    horizon = forgotten_through(connection, tenant)
    if revision < horizon:
        raise HistoryForgotten.before(horizon)
    if revision == head.revision:
        return head
    digest = connection.scalar(
        sa.select(commits.c.hash).where(mine, commits.c.revision == revision)
    )
    return Head(head.epoch, revision, digest or GENESIS)


class PastState(State):
    """A state of which all records are known already."""

    def __init__(self, connection: Connection, tenant: str, records: Iterable[Record]) -> None:
        """Show ``records`` and nothing else."""
        super().__init__(connection, tenant)
        for record in records:
            self._known[record.kind][record.parts] = record
        self._complete.update(RECORD_TYPES)

    def find(self, kind: str, **columns: str) -> list[Record]:
        """Records of a kind by the values of their columns, in key order."""
        return sorted(
            (
                record
                for record in self.all(kind)
                if all(_value(record, name) == value for name, value in columns.items())
            ),
            key=lambda record: record.parts,
        )


def _value(record: Record, name: str) -> object:
    if name in record.key_columns:
        return record.parts[record.key_columns.index(name)]
    return record.columns().get(name)


def state_as_of(connection: Connection, tenant: str, revision: int) -> PastState:
    """The state right after the commit ``revision``, with who wrote each record and when."""
    now = State(connection, tenant)
    records = {record.key: record for kind in RECORD_TYPES for record in now.all(kind)}
    mine = changes.c.tenant_id == tenant
    # What the first change since then found there, is what was there.
    first = (
        sa.select(changes.c.kind, changes.c.record_key, sa.func.min(changes.c.revision).label("at"))
        .where(mine, changes.c.revision > revision)
        .group_by(changes.c.kind, changes.c.record_key)
        .subquery()
    )
    same = sa.and_(changes.c.kind == first.c.kind, changes.c.record_key == first.c.record_key)
    query = (
        sa.select(changes.c.kind, changes.c.record_key, changes.c.before)
        .join(first, sa.and_(same, changes.c.revision == first.c.at))
        .where(mine)
    )
    by_text: dict[tuple[str, str], RecordKey] = {}
    for row in connection.execute(query):
        change = read_change(ChangeRow(row.kind, row.record_key, row.before, None))
        records.pop(change.key, None)
        if change.before is not None:
            records[change.key] = change.before
            by_text[(row.kind, row.record_key)] = change.key
    last = (
        sa.select(changes.c.kind, changes.c.record_key, sa.func.max(changes.c.revision).label("at"))
        .join(first, same)
        .where(mine, changes.c.revision <= revision)
        .group_by(changes.c.kind, changes.c.record_key)
        .subquery()
    )
    written = sa.select(
        last.c.kind, last.c.record_key, commits.c.revision, commits.c.created_at, commits.c.actor
    ).join(commits, sa.and_(commits.c.tenant_id == tenant, commits.c.revision == last.c.at))
    for kind, text, at, moment, actor in connection.execute(written):
        key = by_text.get((kind, text))
        if key is not None:
            records[key] = attrs.evolve(
                records[key], revision=at, updated_at=moment, updated_by=actor
            )
    return PastState(connection, tenant, records.values())
