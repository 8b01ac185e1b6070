"""What is left of a tenant's earlier names.

A commit's hash covers the tenant's name, so a renamed tenant's older commits verify under
the name that they were made under. The commit that renames tells it, and is in the chain
itself. Under the old name a mark stays: a client that still writes there is refused, because the
first use of a name would begin an empty tenant, and what they write would be lost in it.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.tables import commits, leases
from expresso_persist.errors import InvalidInput, TenantRenamed
from expresso_persist.model import json_text

__all__ = ["RENAME", "clear_mark", "leave_mark", "name_at", "receipt", "refuse_old_name"]

RENAME = "rename"
_MARK = "renamed"


def receipt(old: str, new: str) -> str:
    """What the commit that renames remembers."""
    return json_text.dumps({"renamed": {"from": old, "to": new}})


def name_at(connection: Connection, tenant: str) -> Callable[[int], str]:
    """Tells the name under which each revision was made."""
    until: list[int] = []
    names: list[str] = []
    for row in connection.execute(
        sa.select(commits.c.revision, commits.c.receipt)
        .where(commits.c.tenant_id == tenant, commits.c.source == RENAME)
        .order_by(commits.c.revision)
    ):
        try:
            content: Any = json_text.loads(row.receipt or "null")
            earlier = str(content["renamed"]["from"])
        except (InvalidInput, TypeError, KeyError):
            continue  # its hash does not agree either
        until.append(row.revision)
        names.append(earlier)
    names.append(tenant)
    return lambda revision: names[bisect_right(until, revision)]


def leave_mark(connection: Connection, tenant: str, now: dt.datetime) -> None:
    """Keep a name from being used by mistake."""
    connection.execute(
        sa.insert(leases),
        {
            "tenant_id": tenant, "name": _MARK, "holder": "", "acquired_at": now, "expires_at": now,
        },
    )  # fmt: skip


def clear_mark(connection: Connection, tenant: str) -> None:
    """Let a name be used again."""
    connection.execute(
        sa.delete(leases).where(leases.c.tenant_id == tenant, leases.c.name == _MARK)
    )


def refuse_old_name(connection: Connection, tenant: str) -> None:
    """Called before a tenant comes to be by its first use.

    Raises:
        TenantRenamed: The name was given up.
    """
    mark = sa.select(leases.c.name).where(leases.c.tenant_id == tenant, leases.c.name == _MARK)
    if connection.execute(mark).first() is not None:
        raise TenantRenamed
