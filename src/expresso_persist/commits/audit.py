"""Walking the audit trail: is every commit there, unaltered, and does the data agree?

What a chain alone cannot find: that its newest end was cut off and everything else put back
to match, or that all of it was written again. Who keeps the newest hash elsewhere (an
*anchor*: a note, a log, an archive of a backup) finds that too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.aliases import name_at
from expresso_persist.commits.hash_chain import GENESIS, ChangeRow, change_rows, commit_hash
from expresso_persist.commits.state import forgotten_through, read_head
from expresso_persist.db.tables import RECORD_TABLES, changes, commits
from expresso_persist.errors import InvalidInput, Problem
from expresso_persist.model import json_text
from expresso_persist.model.records import RECORD_TYPES, Change

__all__ = ["KeptDigest", "VerificationReport", "verify", "verify_newest"]

_MOST_PROBLEMS = 100


@attrs.frozen
class VerificationReport:
    """Result of walking the audit trail.

    Attributes:
        ok: Nothing was found.
        commits: How many commits there are.
        problems: What was found, a sentence each; at most the first hundred.
        anchor: Revision and hash of the newest commit, to be kept elsewhere.
    """

    ok: bool
    commits: int
    problems: tuple[str, ...]
    anchor: str = ""


@attrs.frozen
class _StoredChange(ChangeRow):
    """A change and its place in the commit."""

    ordinal: int


class KeptDigest:
    """SHA-256 over the commits before the horizon and what was kept of their changes."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, commit: Any, rows: Iterable[Any]) -> None:
        """Take in a row of commits and the rows of its changes, oldest first."""
        moment = commit.created_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
        line: list[json_text.Json] = [
            commit.revision, commit.actor, commit.source, commit.note, moment,
            commit.idempotency_key, commit.request_fingerprint, commit.receipt, commit.hash,
        ]  # fmt: skip
        self._digest.update(json_text.dumps(line).encode() + b"\n")
        for row in rows:
            kept: list[json_text.Json] = [
                row.ordinal, row.kind, row.record_key, row.before, row.after,
            ]  # fmt: skip
            self._digest.update(json_text.dumps(kept).encode() + b"\n")

    def hexdigest(self) -> str:
        """The digest, hexadecimal."""
        return self._digest.hexdigest()


def verify(connection: Connection, tenant: str, anchors: Sequence[str] = ()) -> VerificationReport:
    """Check a tenant's hash chain, and the stored records against their last changes.

    Args:
        connection: A transaction.
        tenant: Whose trail it is.
        anchors: Revisions with their hashes (``<revision>.<hash>``) as they were given
            earlier, and cursors, which have the hash's beginning.

    Raises:
        InvalidInput: An anchor cannot be read.
    """
    problems: list[str] = []
    previous, expected, count = GENESIS, 1, 0
    horizon = forgotten_through(connection, tenant)
    kept, forgotten = KeptDigest(), (0, "")
    wanted = dict(_read_anchor(anchor) for anchor in anchors)
    last: dict[tuple[str, str], tuple[str | None, Any]] = {}
    rows_of = _change_rows(connection, tenant)
    name = name_at(connection, tenant)
    for row in connection.execute(
        sa.select(commits).where(commits.c.tenant_id == tenant).order_by(commits.c.revision)
    ):
        count += 1
        if row.revision != expected:
            problems.append(f"Revision {expected} is missing from the audit trail.")
        rows = rows_of.pop(row.revision, [])
        if row.revision <= horizon:
            kept.add(row, rows)
        elif _hash(previous, name(row.revision), row, rows) != row.hash or any(
            change.ordinal != place for place, change in enumerate(rows)
        ):
            problems.append(f"Revision {row.revision} was altered after it was written.")
        if row.source == "forget":
            forgotten = _forgotten(row)
        if not row.hash.startswith(wanted.pop(row.revision, "")):
            problems.append(f"Revision {row.revision} is not the one that the anchor names.")
        for change in rows:
            last[(change.kind, change.record_key)] = (change.after, row)
        previous, expected = row.hash, row.revision + 1
    problems.extend(f"Revision {revision} has changes but no commit." for revision in rows_of)
    problems.extend(
        f"Revision {revision}, which the anchor names, is missing." for revision in wanted
    )
    if horizon and forgotten[1] != kept.hexdigest():
        problems.append(f"What was kept up to revision {horizon} was altered.")
    if forgotten[0] != horizon:
        problems.append("The revision up to which changes were forgotten was altered.")
    head = read_head(connection, tenant)
    if head is not None and (head.hash != previous or head.revision != expected - 1):
        problems.append("The newest commits are missing from the audit trail.")
    problems.extend(_compare_records(connection, tenant, last))
    anchor = f"{expected - 1}.{previous}"
    return VerificationReport(not problems, count, tuple(problems[:_MOST_PROBLEMS]), anchor)


def verify_newest(connection: Connection, tenant: str, limit: int) -> str | None:
    """What is wrong with the newest commits, the first thing; None when they verify.

    Quick however long the trail is, and no substitute for :func:`verify`.
    """
    head = read_head(connection, tenant)
    if head is None:
        return None
    horizon = forgotten_through(connection, tenant)
    since = max(head.revision - limit, horizon)
    name = name_at(connection, tenant)
    rows: dict[int, list[_StoredChange]] = {}
    for row in connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant, changes.c.revision > since)
        .order_by(changes.c.revision, changes.c.ordinal)
    ):
        rows.setdefault(row.revision, []).append(
            _StoredChange(row.kind, row.record_key, row.before, row.after, row.ordinal)
        )
    previous, expected = GENESIS, since or 1  # the one before the first is only read
    for row in connection.execute(
        sa.select(commits)
        .where(commits.c.tenant_id == tenant, commits.c.revision >= since)
        .order_by(commits.c.revision)
    ):
        if row.revision != expected:
            return f"Revision {expected} is missing from the audit trail."
        computed = _hash(previous, name(row.revision), row, rows.get(row.revision, []))
        if row.revision > since and computed != row.hash:
            return f"Revision {row.revision} was altered after it was written."
        previous, expected = row.hash, row.revision + 1
    if previous != head.hash or expected - 1 != head.revision:
        return "The newest commits are missing from the audit trail."
    return None


def _hash(previous: str, tenant: str, row: Any, rows: Iterable[ChangeRow]) -> str:
    return commit_hash(
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


def _forgotten(row: Any) -> tuple[int, str]:
    """The horizon and the digest that a commit says; a damaged one is found by its hash."""
    try:
        content: Any = json_text.loads(row.receipt or "null")
        return content["forgotten"]["through"], content["forgotten"]["digest"]
    except (InvalidInput, TypeError, KeyError):
        return 0, ""


def _read_anchor(anchor: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:[^.\s]+\.)?([0-9]{1,18})\.([0-9a-f]{12,64})", anchor)
    if found is None:
        raise InvalidInput(
            "An anchor is a revision and its hash, such as `verify` prints: 17.3f9c…",
            problems=[Problem("anchor", "<revision>.<hash>")],
        )
    return int(found[1]), found[2]


def _change_rows(connection: Connection, tenant: str) -> dict[int, list[_StoredChange]]:
    found: dict[int, list[_StoredChange]] = {}
    for row in connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant)
        .order_by(changes.c.revision, changes.c.ordinal)
    ):
        found.setdefault(row.revision, []).append(
            _StoredChange(row.kind, row.record_key, row.before, row.after, row.ordinal)
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
