"""Exactly one process makes the automatic backups, and never two in one interval.

Two rows of ``leases`` decide, by the database's clock alone:

``backup-runner``
    Who may work now. Taken and renewed in one short transaction that locks the row, so
    nothing outlives it (PgBouncer may hand every transaction another session).
``backup-due``
    When the last automatic backup was made or confirmed. It moves in the transaction that
    stores the backup, so of several processes that are all at it the first one stores it.

A time in the future means that the clock went back; such a row counts as expired.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from typing import NamedTuple

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.database import Database
from expresso_persist.tables import leases

__all__ = ["DUE", "RESTORE", "RUNNER", "DueMark", "Lease", "LeaseView", "lock_row"]

RUNNER = "backup-runner"
DUE = "backup-due"
RESTORE = "restore"
_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class LeaseRow(NamedTuple):
    """A row of the table of leases."""

    holder: str
    acquired_at: dt.datetime
    expires_at: dt.datetime


def lock_row(database: Database, connection: Connection, tenant: str, name: str) -> LeaseRow:
    """Lock the row ``name`` until the transaction ends, creating it when it is missing."""
    _add_row(database, connection, tenant, name)
    select = sa.select(leases.c.holder, leases.c.acquired_at, leases.c.expires_at).where(
        leases.c.tenant_id == tenant, leases.c.name == name
    )
    return LeaseRow(*connection.execute(database.lock_rows(select)).one())


def _add_row(database: Database, connection: Connection, tenant: str, name: str) -> None:
    database.insert_if_absent(
        connection,
        leases,
        {
            "tenant_id": tenant,
            "name": name,
            "holder": "",
            "acquired_at": _LONG_AGO,
            "expires_at": _LONG_AGO,
        },
    )


@attrs.frozen
class LeaseView:
    """What the lease's row says at one moment.

    Attributes:
        holder: Random name of who took it last; empty after a release.
        seconds_left: Seconds until it expires; 0 when it is free.
    """

    holder: str
    seconds_left: float

    @property
    def live(self) -> bool:
        """True while somebody holds it."""
        return self.seconds_left > 0

    @property
    def label(self) -> str:
        """Who holds it, in words."""
        return self.holder.partition("#")[0]


class Lease:
    """The right to do one kind of work for a tenant, for ``ttl`` seconds at a time."""

    def __init__(
        self, database: Database, tenant: str, ttl: float, *, name: str = RUNNER, label: str = ""
    ) -> None:
        """Name a lease; nothing is taken yet.

        Args:
            database: Where its row is.
            tenant: Whose work it is about.
            ttl: Seconds that it stays taken without being renewed.
            name: The work.
            label: Who works, in words, for those who find it taken.
        """
        self._database = database
        self._tenant = tenant
        self._name = name
        self._label = label
        self._token = secrets.token_hex(8)
        self.ttl: dt.timedelta = dt.timedelta(seconds=ttl)

    @property
    def holder(self) -> str:
        """Who this is. A forked child is somebody else."""
        return f"{self._label}#{self._token}-{os.getpid()}"

    def acquire(self) -> bool:
        """Take the lease when it is free, or renew it; tell whether it is ours."""
        with self._database.write() as connection:
            row = lock_row(self._database, connection, self._tenant, self._name)
            # The clock is read after the row is locked. Read before, it may be behind the
            # row that another process wrote while this one waited, which would look as if
            # the clock had gone back.
            now = self._database.now(connection)
            if row.holder != self.holder and row.acquired_at <= now < row.expires_at:
                return False
            taken = connection.execute(
                sa.update(leases)
                .where(*self._row)
                .values(holder=self.holder, acquired_at=now, expires_at=now + self.ttl)
            )
            return taken.rowcount == 1

    def release(self) -> None:
        """Let others take it at once; nothing happens when it is not ours."""
        with self._database.write() as connection:
            connection.execute(
                sa.update(leases)
                .where(*self._row, leases.c.holder == self.holder)
                .values(holder="", expires_at=leases.c.acquired_at)
            )

    def view(self, connection: Connection) -> LeaseView:
        """Look at the row without changing it."""
        row = connection.execute(
            sa.select(leases.c.holder, leases.c.acquired_at, leases.c.expires_at).where(*self._row)
        ).first()
        now = self._database.now(connection)
        if row is None or row.acquired_at > now:
            return LeaseView("", 0.0)
        return LeaseView(row.holder, max(0.0, (row.expires_at - now).total_seconds()))

    @property
    def _row(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return leases.c.tenant_id == self._tenant, leases.c.name == self._name


@attrs.frozen
class DueMark:
    """When the automatic backup of a tenant was last made, and when the next one is due."""

    database: Database
    tenant: str
    interval: dt.timedelta

    def last(self, connection: Connection) -> dt.datetime | None:
        """Time of the last automatic backup or confirmation, by the database's clock."""
        value = connection.scalar(
            sa.select(leases.c.acquired_at).where(
                leases.c.tenant_id == self.tenant, leases.c.name == DUE
            )
        )
        return None if value is None or value == _LONG_AGO else value

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
