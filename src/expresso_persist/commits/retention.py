"""Forgetting old changes on purpose, so that what stays can still be verified.

The commits stay: who, when, why, their hashes. Of the changes up to the horizon only what
makes up the state at the horizon stays (each record's last ``after``). A digest of all that
stays goes into a commit of its own, and so into the hash chain: an edit, a removal or an
addition before the horizon is found as anywhere else.
"""

from __future__ import annotations

import datetime as dt

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.audit import KeptDigest, verify
from expresso_persist.commits.state import forgotten_through, read_head
from expresso_persist.db.tables import changes, commits, tenants
from expresso_persist.errors import ConflictRefused, InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json, check_whole

__all__ = ["Forgotten", "forget", "horizon", "receipt"]


@attrs.frozen
class Forgotten:
    """What was, or would be, forgotten.

    Attributes:
        through: The last revision whose changes are forgotten; as it was, if nothing is.
        commits: How many commits that concerns this time.
        changes: How many changes are dropped.
        kept: How many changes up to there stay, because they make up the state then.
        dry_run: Nothing was written.
        revision: The tenant's revision afterwards.
    """

    through: int
    commits: int
    changes: int
    kept: int
    dry_run: bool
    revision: int

    def to_json(self) -> dict[str, Json]:
        """The result as a JSON object."""
        return attrs.asdict(self)


def horizon(connection: Connection, tenant: str, before: int | dt.datetime) -> int:
    """The last revision before ``before``, a revision or a time.

    Raises:
        InvalidInput: The time has no offset, or it is neither.
    """
    head = read_head(connection, tenant)
    newest = head.revision if head is not None else 0
    if not isinstance(before, dt.datetime):
        check_whole(before=before)
        return max(0, min(before - 1, newest))
    if before.tzinfo is None:
        raise InvalidInput("before is a revision or a time with its offset.")
    # Clocks jump: nothing that was made since then is forgotten, whatever came after it.
    first = connection.scalar(
        sa.select(sa.func.min(commits.c.revision)).where(
            commits.c.tenant_id == tenant, commits.c.created_at >= before
        )
    )
    return newest if first is None else int(first) - 1


def forget(connection: Connection, tenant: str, through: int, *, dry_run: bool) -> Forgotten:
    """Drop what lies before a horizon, inside the caller's transaction.

    The caller commits :func:`receipt` in the same transaction.

    Raises:
        ConflictRefused: The audit trail has problems; forgetting would hide them.
    """
    head = read_head(connection, tenant)
    revision = head.revision if head is not None else 0
    earlier = forgotten_through(connection, tenant)
    if through <= earlier:
        return Forgotten(earlier, 0, 0, 0, dry_run, revision)
    report = verify(connection, tenant)
    if not report.ok:
        raise ConflictRefused(
            "The audit trail has problems, see `verify`; nothing is forgotten before they are "
            f"understood. The first: {report.problems[0]}"
        )
    mine = sa.and_(changes.c.tenant_id == tenant, changes.c.revision <= through)
    later = changes.alias("later")
    superseded = sa.exists().where(
        later.c.tenant_id == tenant,
        later.c.kind == changes.c.kind,
        later.c.record_key == changes.c.record_key,
        later.c.revision > changes.c.revision,
        later.c.revision <= through,
    )
    dropped = sa.and_(mine, sa.or_(changes.c.after.is_(None), superseded))
    count = sa.select(sa.func.count()).select_from(changes)
    total = connection.scalar(count.where(mine)) or 0
    gone = connection.scalar(count.where(dropped)) or 0
    result = Forgotten(through, through - earlier, gone, total - gone, dry_run, revision)
    if dry_run:
        return result
    connection.execute(sa.delete(changes).where(dropped))
    connection.execute(sa.update(changes).where(mine).values(before=None))
    connection.execute(
        sa.update(tenants).where(tenants.c.tenant_id == tenant).values(forgotten_through=through)
    )
    return attrs.evolve(result, revision=revision + 1)


def receipt(connection: Connection, tenant: str, result: Forgotten) -> str:
    """What the commit that forgets remembers: the digest of what stays."""
    digest = KeptDigest()
    kept: dict[int, list[sa.Row[tuple[object, ...]]]] = {}
    for row in connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant, changes.c.revision <= result.through)
        .order_by(changes.c.revision, changes.c.ordinal)
    ):
        kept.setdefault(row.revision, []).append(row)
    for row in connection.execute(
        sa.select(commits)
        .where(commits.c.tenant_id == tenant, commits.c.revision <= result.through)
        .order_by(commits.c.revision)
    ):
        digest.add(row, kept.get(row.revision, []))
    return json_text.dumps(
        {
            "forgotten": {
                "through": result.through,
                "changes": result.changes,
                "digest": digest.hexdigest(),
            }
        }
    )
