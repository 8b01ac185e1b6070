"""The automatic backup: who makes it, when, and what the scheduler does each time it wakes."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from collections.abc import Callable

import attrs

from expresso_persist.backups.catalog import Backup
from expresso_persist.backups.due import RUNNER, DueMark
from expresso_persist.backups.scheduler import Scheduler, describe
from expresso_persist.backups.standby import Standby
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.errors import Busy, ExpressoPersistError

__all__ = ["Runner", "Work"]


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
    so that everybody can see that somebody is on duty. It expires after half an interval:
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
        """Make the backup if it is due and nobody else is on duty."""
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
            return  # the database is what fails; the log and the status here tell of it

    def _release(self) -> None:
        try:
            self.lease.release()
        except ExpressoPersistError as error:
            self.note(error)  # it expires by itself
