"""Schedulers that found another one on duty, so that the doctor can tell of them.

Each keeps a row of ``leases`` that lasts for two intervals; it gives no right to anything.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.tables import leases

__all__ = ["Standby"]

_PREFIX = "backup-standby "


class Standby:
    """One scheduler's row."""

    def __init__(self, database: Database, tenant: str, interval: float) -> None:
        """Name it; nothing is written yet."""
        self._database = database
        self._tenant = tenant
        self._ttl = dt.timedelta(seconds=2 * interval)
        self._token = secrets.token_hex(8)
        self._until = dt.datetime.min.replace(tzinfo=dt.UTC)

    @property
    def _name(self) -> str:
        return f"{_PREFIX}{self._token}-{os.getpid()}"  # a forked child is another one

    def note(self) -> None:
        """Say that this one waits, now and then; remove those that have not for long."""
        with self._database.read() as connection:
            now = self._database.now(connection)
        if now < self._until:
            return
        row = {
            "tenant_id": self._tenant,
            "name": self._name,
            "holder": "",
            "acquired_at": now,
            "expires_at": now + self._ttl,
        }

        def replace(connection: Connection) -> None:
            connection.execute(
                sa.delete(leases).where(
                    leases.c.tenant_id == self._tenant,
                    leases.c.name.startswith(_PREFIX),
                    sa.or_(leases.c.expires_at <= now, leases.c.name == self._name),
                )
            )
            connection.execute(sa.insert(leases), row)

        self._database.transact(replace)
        self._until = now + self._ttl / 2

    def leave(self) -> None:
        """Remove the row."""
        gone = sa.delete(leases).where(
            leases.c.tenant_id == self._tenant, leases.c.name == self._name
        )
        self._database.transact(lambda connection: connection.execute(gone))

    def intervals(self, connection: Connection) -> list[float]:
        """The intervals of those that wait, in seconds."""
        now = self._database.now(connection)
        rows = connection.execute(
            sa.select(*raw.columns(connection, [leases.c.acquired_at, leases.c.expires_at])).where(
                leases.c.tenant_id == self._tenant,
                leases.c.name.startswith(_PREFIX),
                leases.c.expires_at > now,
            )
        )
        times = [(raw.time(since), raw.time(until)) for since, until in rows]
        return [(until - since).total_seconds() / 2 for since, until in times if since and until]
