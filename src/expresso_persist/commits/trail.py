"""Reading commits: a page of the change feed, and the first commit of a repeated request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import GENESIS, ChangeRow, read_change
from expresso_persist.commits.state import forgotten_through, read_head
from expresso_persist.db.tables import changes as changes_table
from expresso_persist.db.tables import commits
from expresso_persist.errors import IdempotencyMismatch, InvalidInput, Problem
from expresso_persist.model.records import CURSOR_DIGITS, Change, Commit, Head

__all__ = ["ChangePage", "commit_of_key", "read_commits", "read_cursor", "read_page", "replayed"]


@attrs.frozen
class ChangePage:
    """A page of the change feed.

    Attributes:
        commits: The commits after the cursor, oldest first.
        cursor: What to ask for next.
        reset: The server does not have what is after the cursor: the database was replaced
            by another or older copy, or that history was forgotten. The client has to read
            everything again.
        has_more: There are more commits after these.
    """

    commits: tuple[Commit, ...]
    cursor: str
    reset: bool
    has_more: bool


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


def read_page(
    connection: Connection, tenant: str, position: tuple[str | None, int, str], limit: int
) -> ChangePage:
    """The commits after a position that :func:`read_cursor` read."""
    epoch, revision, prefix = position
    head = read_head(connection, tenant)
    assert head is not None
    known = revision <= head.revision and epoch in (None, head.epoch)
    if known and prefix and revision:
        # A part of what cursors have of a hash would fit other commits too.
        stored = _hash_at(connection, tenant, revision) or ""
        known = stored.startswith(prefix) and len(prefix) >= CURSOR_DIGITS
    if not known or revision < forgotten_through(connection, tenant):
        return ChangePage((), head.cursor, reset=True, has_more=False)
    found = read_commits(connection, tenant, revision, limit)
    if not found:
        return ChangePage((), head.cursor, reset=False, has_more=False)
    last = found[-1]
    return ChangePage(
        tuple(found),
        Head(head.epoch, last.revision, last.hash).cursor,
        reset=False,
        has_more=last.revision < head.revision,
    )


def read_commits(connection: Connection, tenant: str, since: int, limit: int) -> list[Commit]:
    """Commits after revision ``since``, oldest first, with their changes."""
    rows = connection.execute(
        sa.select(commits)
        .where(commits.c.tenant_id == tenant, commits.c.revision > since)
        .order_by(commits.c.revision)
        .limit(limit)
    ).all()
    return _with_changes(connection, tenant, rows)


def commit_of_key(connection: Connection, tenant: str, actor: str, key: str) -> sa.Row[Any] | None:
    """The row of the commit that an actor's request with this Idempotency-Key made."""
    return connection.execute(
        sa.select(commits).where(
            commits.c.tenant_id == tenant,
            commits.c.actor == actor,
            commits.c.idempotency_key == key,
        )
    ).one_or_none()


def replayed(
    connection: Connection,
    tenant: str,
    row: sa.Row[Any],
    fingerprint: str | None,
    epoch: str = "",
) -> Commit:
    """The first commit of a request that is repeated.

    Raises:
        IdempotencyMismatch: It was another request.
    """
    if row.request_fingerprint != fingerprint:
        raise IdempotencyMismatch
    return attrs.evolve(
        _with_changes(connection, tenant, [row])[0],
        replayed=True,
        epoch=epoch,
        previous=_hash_at(connection, tenant, row.revision - 1) or GENESIS,
    )


def _hash_at(connection: Connection, tenant: str, revision: int) -> str | None:
    return connection.scalar(
        sa.select(commits.c.hash).where(
            commits.c.tenant_id == tenant, commits.c.revision == revision
        )
    )


def _with_changes(connection: Connection, tenant: str, rows: Sequence[Any]) -> list[Commit]:
    if not rows:
        return []
    found: dict[int, list[Change]] = {}
    for row in connection.execute(
        sa.select(changes_table)
        .where(
            changes_table.c.tenant_id == tenant,
            changes_table.c.revision.between(rows[0].revision, rows[-1].revision),
        )
        .order_by(changes_table.c.revision, changes_table.c.ordinal)
    ):
        change = read_change(ChangeRow(row.kind, row.record_key, row.before, row.after))
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
