"""Work of a kind that one process at a time may do for a tenant.

A row of the table of leases says who does it, and until when, by the database's clock alone.
It is taken and renewed in one short transaction that locks the row, so nothing outlives it
(PgBouncer may hand every transaction another session). A process that died keeps no one waiting
for longer than it had left, and those on its own machine not at all. A time in the future means
that the clock went back; such a row counts as expired, and so does one that is damaged: that
nothing can be read of it, or that it is taken for much longer than anything takes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.tables import leases
from expresso_persist.errors import Busy, DatabaseUnavailable
from expresso_persist.model.json_text import check_storable

__all__ = ["EXCLUSIVE", "LONG_AGO", "Lease", "LeaseView", "exclusive", "lock_row"]

EXCLUSIVE = "exclusive"
LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LONGEST = dt.timedelta(days=1)  # for which a row is taken, unless its work is done more seldom
_SOON = 2  # seconds; most work of this kind takes less


class LeaseRow(NamedTuple):
    """A row of the table of leases."""

    holder: str
    acquired_at: dt.datetime
    expires_at: dt.datetime

    @classmethod
    def read(cls, row: sa.Row[Any]) -> Self:
        """What can be read of a row of :func:`_columns`."""
        return cls(
            raw.text(row.holder) or "",
            raw.time(row.acquired_at) or LONG_AGO,
            raw.time(row.expires_at) or LONG_AGO,
        )

    def seconds_left(self, now: dt.datetime, ttl: dt.timedelta = _LONGEST) -> float:
        """Seconds for which it is still taken at ``now``; 0 when it is free."""
        too_long = self.expires_at - self.acquired_at > max(2 * ttl, _LONGEST)
        if self.acquired_at > now or too_long or _is_dead(self.holder):
            return 0.0
        return max(0.0, (self.expires_at - now).total_seconds())


@functools.cache
def _realm() -> str:
    """Name of the boot and namespace in which this process's number means something.

    Empty where the system does not tell (it takes Linux's ``/proc``).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:16]


def _is_dead(holder: str) -> bool:
    """True when this process can tell that the one which took a lease has ended."""
    realm, _, pid = holder.rpartition("@")[2].partition("-")
    if not realm or realm != _realm():
        return False
    try:
        os.kill(int(pid), 0)  # signal 0 only asks; the realm says that this is a Linux
    except (ValueError, OverflowError, ProcessLookupError):  # no number, or none of a process
        return True
    except PermissionError:  # it lives, as another user
        return False
    return False


def lock_row(database: Database, connection: Connection, tenant: str, name: str) -> LeaseRow:
    """Lock the row ``name`` until the transaction ends, creating it when it is missing."""
    _add_row(database, connection, tenant, name)
    select = sa.select(*_columns(connection)).where(
        leases.c.tenant_id == tenant, leases.c.name == name
    )
    return LeaseRow.read(connection.execute(database.lock_rows(select)).one())


def _columns(connection: Connection) -> list[sa.ColumnElement[Any]]:
    return raw.columns(connection, [leases.c.holder, leases.c.acquired_at, leases.c.expires_at])


def _add_row(database: Database, connection: Connection, tenant: str, name: str) -> None:
    database.insert_if_absent(
        connection,
        leases,
        {
            "tenant_id": tenant,
            "name": name,
            "holder": "",
            "acquired_at": LONG_AGO,
            "expires_at": LONG_AGO,
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
        return self.holder.rpartition("#")[0]


class Lease:
    """The right to do one kind of work for a tenant, for ``ttl`` seconds at a time."""

    def __init__(
        self, database: Database, tenant: str, ttl: float, *, name: str, label: str = ""
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
        return f"{self._label}#{self._token}@{_realm()}-{os.getpid()}"

    def acquire(self) -> bool:
        """Take the lease when it is free, or renew it; tell whether it is ours."""

        def take(connection: Connection) -> bool:
            row = lock_row(self._database, connection, self._tenant, self._name)
            # The clock is read after the row is locked. Read before, it may be behind the
            # row that another process wrote while this one waited, which would look as if
            # the clock had gone back.
            now = self._database.now(connection)
            if row.holder != self.holder and row.seconds_left(now, self.ttl) > 0:
                return False
            taken = connection.execute(
                sa.update(leases)
                .where(*self._row)
                .values(holder=self.holder, acquired_at=now, expires_at=now + self.ttl)
            )
            return taken.rowcount == 1

        return self._database.transact(take)

    def release(self) -> None:
        """Let others take it at once; nothing happens when it is not ours."""
        given_up = (
            sa.update(leases)
            .where(*self._row, leases.c.holder == self.holder)
            .values(holder="", expires_at=leases.c.acquired_at)
        )
        self._database.transact(lambda connection: connection.execute(given_up))

    def view(self, connection: Connection) -> LeaseView:
        """Look at the row without changing it."""
        found = connection.execute(sa.select(*_columns(connection)).where(*self._row)).first()
        if found is None:
            return LeaseView("", 0.0)
        row = LeaseRow.read(found)
        left = row.seconds_left(self._database.now(connection), self.ttl)
        return LeaseView(row.holder, left)

    @property
    def _row(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return leases.c.tenant_id == self._tenant, leases.c.name == self._name


@contextlib.contextmanager
def exclusive(
    database: Database, tenant: str, *, actor: str, work: str, ttl: float
) -> Iterator[None]:
    """Keep every other import and restore of a tenant out while the block runs.

    Args:
        database: Where the tenant's data is.
        tenant: Whose data is worked on.
        actor: Who works, for those who are kept out.
        work: What they do, as in "… is importing".
        ttl: Seconds after which others may go on if this process hangs, or died elsewhere.

    Raises:
        Busy: Another one runs; the message says whose.
    """
    check_storable(actor=actor)
    lease = Lease(database, tenant, ttl, name=EXCLUSIVE, label=f"{actor or 'Somebody'} is {work}")
    if not lease.acquire():
        with database.read() as connection:
            view = lease.view(connection)
        raise Busy(
            f"{view.label or 'Somebody else was faster'}; try again in a moment.",
            retry_after=_SOON,
        )
    try:
        yield
    finally:
        # What was done is done; a lease that could not be given back ends by itself.
        with contextlib.suppress(DatabaseUnavailable):
            lease.release()
