"""When the automatic backups of a tenant are due, by the database's clock.

The row ``backup-due`` of ``leases`` says when the last one was made or confirmed. It moves in
the transaction that stores the backup, so of several processes that are all at it the first
one stores it. A time in the future means that the clock went back; it counts as long ago.
"""

from __future__ import annotations

import datetime as dt

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.leases import LONG_AGO, lock_row
from expresso_persist.db.tables import leases

__all__ = ["DUE", "RUNNER", "DueMark"]

RUNNER = "backup-runner"
DUE = "backup-due"


@attrs.frozen
class DueMark:
    """When the automatic backup of a tenant was last made, and when the next one is due."""

    database: Database
    tenant: str
    interval: dt.timedelta

    def last(self, connection: Connection) -> dt.datetime | None:
        """Time of the last automatic backup or confirmation, by the database's clock."""
        (acquired_at,) = raw.columns(connection, [leases.c.acquired_at])
        select = sa.select(acquired_at).where(
            leases.c.tenant_id == self.tenant, leases.c.name == DUE
        )
        value = raw.time(connection.scalar(select))  # None if it is damaged: due now
        return None if value is None or value == LONG_AGO else value

    def seconds_left(self, connection: Connection) -> float:
        """Seconds until the next one is due; 0 when it is due now."""
        return self._left(self.last(connection), self.database.now(connection))

    def claim(self, connection: Connection, last: dt.datetime | None) -> bool:
        """Lock the mark until the transaction ends; tell whether a backup is due.

        Args:
            connection: A write transaction.
            last: What :meth:`last` said before the state was read. When the mark moved
                since, somebody was faster, and that state may be older than theirs.
        """
        self.lock(connection)
        # The clock is read after the lock: another backup may have been stored meanwhile.
        return self.last(connection) == last and self.seconds_left(connection) == 0

    def lock(self, connection: Connection) -> None:
        """Keep others from storing an automatic backup until the transaction ends."""
        lock_row(self.database, connection, self.tenant, DUE)

    def move(self, connection: Connection, made: dt.datetime) -> None:
        """Note, under the lock, that an automatic backup was made or confirmed at ``made``."""
        connection.execute(
            sa.update(leases)
            .where(leases.c.tenant_id == self.tenant, leases.c.name == DUE)
            .values(acquired_at=made, expires_at=made + self.interval)
        )

    def _left(self, last: dt.datetime | None, now: dt.datetime) -> float:
        if last is None or last > now:
            return 0.0
        return max(0.0, (last + self.interval - now).total_seconds())
