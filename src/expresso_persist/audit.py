"""Walking the audit trail: is every commit there, unaltered, and does the data agree?"""

from __future__ import annotations

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.changelog import GENESIS, ChangeRow, change_rows, commit_hash
from expresso_persist.records import RECORD_TYPES, Change
from expresso_persist.state import State, read_head
from expresso_persist.tables import changes, commits

__all__ = ["VerificationReport", "verify"]

_MOST_PROBLEMS = 100


@attrs.frozen
class VerificationReport:
    """Result of walking the audit trail.

    Attributes:
        ok: Nothing was found.
        commits: How many commits there are.
        problems: What was found, a sentence each; at most the first hundred.
    """

    ok: bool
    commits: int
    problems: tuple[str, ...]


def verify(connection: Connection, tenant: str) -> VerificationReport:
    """Check a tenant's hash chain, and the stored records against their last changes."""
    problems: list[str] = []
    previous, expected, count = GENESIS, 1, 0
    last: dict[tuple[str, str], str | None] = {}
    rows_of = _change_rows(connection, tenant)
    for row in connection.execute(
        sa.select(commits).where(commits.c.tenant_id == tenant).order_by(commits.c.revision)
    ):
        count += 1
        if row.revision != expected:
            problems.append(f"Revision {expected} is missing from the audit trail.")
        rows = rows_of.pop(row.revision, [])
        computed = commit_hash(
            previous,
            tenant=tenant,
            revision=row.revision,
            actor=row.actor,
            source=row.source,
            note=row.note,
            created_at=row.created_at,
            rows=rows,
        )
        if computed != row.hash:
            problems.append(f"Revision {row.revision} was altered after it was written.")
        for change in rows:
            last[(change.kind, change.record_key)] = change.after
        previous, expected = row.hash, row.revision + 1
    problems.extend(f"Revision {revision} has changes but no commit." for revision in rows_of)
    head = read_head(connection, tenant)
    if head is not None and (head.hash != previous or head.revision != expected - 1):
        problems.append("The newest commits are missing from the audit trail.")
    problems.extend(_compare_records(connection, tenant, last))
    return VerificationReport(not problems, count, tuple(problems[:_MOST_PROBLEMS]))


def _change_rows(connection: Connection, tenant: str) -> dict[int, list[ChangeRow]]:
    found: dict[int, list[ChangeRow]] = {}
    for row in connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant)
        .order_by(changes.c.revision, changes.c.ordinal)
    ):
        found.setdefault(row.revision, []).append(
            ChangeRow(row.kind, row.record_key, row.before, row.after)
        )
    return found


def _compare_records(
    connection: Connection, tenant: str, last: dict[tuple[str, str], str | None]
) -> list[str]:
    state = State(connection, tenant)
    problems: list[str] = []
    for kind in RECORD_TYPES:
        for record in state.records(kind):
            row = change_rows([Change(record.key, None, record)])[0]
            if last.pop((row.kind, row.record_key), None) != row.after:
                problems.append(f"{record.key} was changed without a commit.")
    problems.extend(
        f"{kind}:{key} was removed without a commit."
        for (kind, key), after in last.items()
        if after is not None
    )
    return problems
