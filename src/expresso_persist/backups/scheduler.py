"""The automatic backup: when it is due, who makes it, and the thread that looks in time.

The row ``backup-due`` of ``leases`` says when the last one was made or confirmed, by the
database's clock. It moves in the transaction that stores the backup, so of several processes
that are all at it the first one stores it. A time in the future means that the clock went
back; it counts as long ago.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import random
import secrets
import threading
import weakref
from collections.abc import Callable

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup
from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.leases import LONG_AGO, Lease, lock_row
from expresso_persist.db.tables import leases
from expresso_persist.errors import Busy, ExpressoPersistError

__all__ = ["DUE", "DueMark", "RUNNER", "Runner", "Scheduler", "Standby", "Work", "describe"]

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


logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_FIRST_RETRY = 5.0


def describe(error: BaseException) -> str:
    """An error in one line, for a log or a status; foreign errors only by their name."""
    text = error.message if isinstance(error, ExpressoPersistError) else type(error).__name__
    return " ".join(text.split())


class Scheduler:
    """Calls ``tick`` again and again in a daemon thread, as often as ``tick`` asks for.

    ``tick`` returns the seconds until its next call. When it raises, the error is logged
    in one line and the calls come at growing distances, up to the interval.
    """

    def __init__(
        self,
        tick: Callable[[], float],
        *,
        interval: float,
        on_error: Callable[[BaseException], None],
        what: str = "The automatic backup",
    ) -> None:
        self._tick = tick
        self._interval = interval
        self._on_error = on_error
        self._what = what
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        _schedulers.add(self)

    @property
    def alive(self) -> bool:
        """True while the thread runs in this process."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Start the thread; nothing happens when it already runs."""
        with self._lock:
            if self.alive:
                return
            self._wake = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._wake,), name="expresso-persist-backups", daemon=True
            )
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin a :meth:`stop`, without waiting: several threads can come to an end at once."""
        self._wake.set()

    def stop(self, grace: float = 10.0) -> bool:
        """Stop the thread after what it is doing; nothing happens when none runs.

        Args:
            grace: Seconds to wait for it.

        Returns:
            False when it is still busy; it ends by itself after that.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake.set()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(grace)
        return not thread.is_alive()

    def _run(self, stop: threading.Event) -> None:
        failures = 0
        # Workers of one host start together; they need not all look at the same moment.
        delay = random.uniform(0, min(1.0, self._interval / 10))  # noqa: S311 - no secret
        while not stop.wait(delay):
            try:
                delay = self._tick()
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                failures += 1
                longest = min(_FIRST_RETRY, self._interval / 4) * 2 ** min(failures - 1, 16)
                delay = min(self._interval, longest) * random.uniform(0.8, 1.0)  # noqa: S311
                self._on_error(error)
                logger.warning(
                    "%s failed: %s Next try in %.0f s.", self._what, describe(error), delay
                )

    def _forget(self) -> None:
        """In a forked child the thread is gone and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None


_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


def _after_fork() -> None:
    for scheduler in list(_schedulers):
        scheduler._forget()  # noqa: SLF001 - the same module's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@attrs.frozen
class Work:
    """What a runner does when it is its turn.

    Attributes:
        make: Makes the backup that is due, as long as the lease is held; None when
            another process was faster.
        tidy: What comes after a new backup: rotation.
        check: Checks and mends what the backups are stored in.
        resume: Finishes what a runner that died left unfinished.
        failed: Leaves a trace of a failure for other processes to see.
    """

    make: Callable[[Lease], Backup | None]
    tidy: Callable[[], object]
    check: Callable[[], object]
    resume: Callable[[], object]
    failed: Callable[[str], object]


class Runner:
    """Makes the automatic backups of one tenant, unless another process does.

    A runner with a running scheduler keeps the lease between two backups and renews it,
    so that other processes see that one is on duty. It expires after half an interval:
    a runner that dies or hangs is replaced before the next backup is missed.
    """

    def __init__(self, database: Database, tenant: str, interval: float, work: Work) -> None:
        self.lease: Lease = Lease(database, tenant, interval / 2, name=RUNNER)
        self.due: DueMark = DueMark(database, tenant, dt.timedelta(seconds=interval))
        self.last_error: str | None = None
        self._standby = Standby(database, tenant, interval)
        self._database = database
        self._work = work
        self._scheduler = Scheduler(self._tick, interval=interval, on_error=self._failed)

    @property
    def alive(self) -> bool:
        """True while the scheduler runs in this process."""
        return self._scheduler.alive

    def note(self, error: BaseException) -> None:
        """Remember an error for the status."""
        self.last_error = describe(error)

    def run_once(self) -> Backup | None:
        """Make the backup if it is due and no other process is on duty."""
        if not self.lease.acquire():
            return None
        try:
            return self._run_due()
        except ExpressoPersistError as error:
            self._failed(error)
            raise
        finally:
            if not self.alive:
                self._release()

    def start(self) -> None:
        """Start the scheduler."""
        self._scheduler.start()

    def stop(self, grace: float) -> None:
        """Stop the scheduler and leave the duty to others at once."""
        was_alive = self.alive
        if self._scheduler.stop(grace) and was_alive:
            self._release()
            with contextlib.suppress(ExpressoPersistError):  # it expires by itself
                self._standby.leave()

    def standby(self) -> list[float]:
        """The intervals of the schedulers that wait for their turn, in any process."""
        with self._database.read() as connection:
            return self._standby.intervals(connection)

    def _run_due(self) -> Backup | None:
        self._work.resume()
        with self._database.read() as connection:
            if self.due.seconds_left(connection) > 0:
                return None
        try:
            backup = self._work.make(self.lease)
            if backup is not None:
                self.last_error = None
                if backup.confirmed_at is None:  # a new row, not the confirmation of an old one
                    self._work.tidy()
        except ExpressoPersistError:
            with contextlib.suppress(ExpressoPersistError):
                self._work.check()  # damage may be the reason, and the next try may succeed
            raise
        if backup is not None:
            # After the rotation, which drops what failed: what is found now is shown meanwhile.
            self._work.check()
        return backup

    def _tick(self) -> float:
        """What the scheduler does each time; gives back the seconds until the next time."""
        with self._database.read() as connection:
            seen = self.lease.view(connection)
        ttl = self.lease.ttl.total_seconds()
        jitter = random.uniform(0, ttl / 10)  # noqa: S311 - spreads processes, no secret
        if seen.live and seen.holder != self.lease.holder:
            self._standby.note()
            return seen.seconds_left + jitter
        if not self.lease.acquire():
            return ttl / 2 + jitter
        try:
            self._run_due()
        except BaseException:
            self._release()  # another process may be luckier
            raise
        with self._database.read() as connection:
            left = self.due.seconds_left(connection)
        return min(left, ttl / 3)  # back before the lease expires, to renew it

    def _failed(self, error: BaseException) -> None:
        self.note(error)
        if isinstance(error, Busy):  # somebody else is making it
            return
        try:
            self._work.failed(describe(error))
        except ExpressoPersistError:
            return  # the database is what fails; the log and the status here show it

    def _release(self) -> None:
        try:
            self.lease.release()
        except ExpressoPersistError as error:
            self.note(error)  # it expires by itself
