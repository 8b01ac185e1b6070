"""Walking the audit trail: is every commit there, unaltered, and does the data agree?"""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.changelog import GENESIS, ChangeRow, change_rows, commit_hash
from expresso_persist.records import RECORD_TYPES, Change
from expresso_persist.state import read_head
from expresso_persist.tables import RECORD_TABLES, changes, commits

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
    last: dict[tuple[str, str], tuple[str | None, Any]] = {}
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
            idempotency_key=row.idempotency_key,
            fingerprint=row.request_fingerprint,
            receipt=row.receipt,
            rows=rows,
        )
        if computed != row.hash:
            problems.append(f"Revision {row.revision} was altered after it was written.")
        for change in rows:
            last[(change.kind, change.record_key)] = (change.after, row)
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
    connection: Connection, tenant: str, last: dict[tuple[str, str], tuple[str | None, Any]]
) -> list[str]:
    problems: list[str] = []
    for kind, record_type in RECORD_TYPES.items():
        table = RECORD_TABLES[kind]
        query = sa.select(table).where(table.c.tenant_id == tenant)
        for row in connection.execute(query).mappings():
            parts = tuple(row[name] for name in record_type.key_columns)
            record = record_type(parts, row["data"], row["position"], row["raw_text"])
            change = change_rows([Change(record.key, None, record)])[0]
            after, commit = last.pop((kind, change.record_key), (None, None))
            written = commit and {
                **record.columns(),
                "revision": commit.revision,
                "updated_at": commit.created_at,
                "updated_by": commit.actor,
            }
            if change.after != after or any(row[name] != written[name] for name in written):
                problems.append(f"{record.key} was changed without a commit.")
    problems.extend(
        f"{kind}:{key} was removed without a commit."
        for (kind, key), (after, _) in last.items()
        if after is not None
    )
    return problems
