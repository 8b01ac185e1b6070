"""Hub: the one thread of a process that looks for new commits, for all who wait for them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db.database import Database
from expresso_persist.db.tables import tenants
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.feed.channel import Channel
from expresso_persist.feed.notifications import Notifications, open_notifications
from expresso_persist.feed.recent import Recent, encode
from expresso_persist.model.records import Head

__all__ = ["Hub", "close_hub", "hub_of"]

logger: logging.Logger = logging.getLogger("expresso_persist.feed")

POLL: dict[str, float] = {"sqlite": 0.1, "postgresql": 0.25}
"""Seconds between two looks where nothing announces commits of other processes."""

SAFETY = 2.0
"""Seconds between two looks where NOTIFY does; a lost one is made good after that time."""

BREATH = 0.03
"""Seconds between two looks at least: what comes closer together is sent together."""

LINGER = 5.0
"""Seconds that the thread stays after the last one who waited."""

_RETRY_LINE = 60.0  # seconds until LISTEN is tried again where it did not work
_LOST = 1.0  # seconds until it is tried again after the connection broke
_FORGET = 60.0  # seconds after which a tenant without readers is forgotten


class Hub:
    """Looks for new commits while somebody waits; sleeps otherwise.

    Attributes:
        poll: Seconds between two looks without NOTIFY.
        safety: Seconds between two looks with it.
        notified: Whether NOTIFY wakes at the moment.
        looks: How often the database was asked.
    """

    def __init__(self, database: Database) -> None:
        """Wait for the first one who wants to know."""
        self.poll: float = POLL[database.dialect]
        self.safety: float = SAFETY
        self.looks: int = 0
        self.closed: bool = False
        self._database = database
        self._channels: dict[str, Channel] = {}
        self._numbers = itertools.count(1)
        # One connection for all threads: a look would see half a transaction of another
        # one. No other process can write to such a database, so there is nothing to look for.
        self._alone = isinstance(database.engine.pool, StaticPool)
        self._start_over()
        database.on_commit.append(self._committed)
        _hubs.add(self)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._line: Notifications | None = None
        self._next_line = 0.0
        self._dirty: set[str] | None = set()  # None: all of them
        self._sleeping = False
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._announced: dict[str, int] = {}  # by NOTIFY, the last of each tenant
        self._found: dict[str, int] = {}  # by looking, since the last look at everything
        self._overdue: dict[str, int] = {}  # by looking, before that
        self._fresh = True

    @property
    def notified(self) -> bool:
        """Whether NOTIFY wakes at the moment."""
        return self._line is not None

    def channel(self, tenant: str) -> Channel:
        """The channel of a tenant."""
        with self._lock:
            found = self._channels.get(tenant)
            if found is None:
                found = Channel(tenant, generation=next(self._numbers))
                self._channels[tenant] = found
            return found

    def enter(self, tenant: str, who: object) -> Channel:
        """Want to know of a tenant's commits until :meth:`leave`."""
        channel = self.channel(tenant)
        with self._lock:
            self._channels[tenant] = channel  # it may have been forgotten in between
            channel.interests.add(who)
            if self._alone or self.closed:
                return channel
            if channel.recent is None and self._dirty is not None:
                self._dirty.add(tenant)
            if self._thread is None:
                self._dirty = None
                self._bell = socket.socketpair()
                for end in self._bell:
                    end.setblocking(False)
                self._thread = threading.Thread(
                    target=self._run, name="expresso-persist feed", daemon=True
                )
                self._thread.start()
            elif channel.recent is None:
                self._ring()
        return channel

    def leave(self, channel: Channel, who: object) -> None:
        """Want to know no more."""
        with self._lock:
            channel.interests.discard(who)
            channel.quiet_since = time.monotonic()

    def close(self) -> None:
        """End the thread, and wake everybody so that they end too."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._database.on_commit.remove(self._committed)
            thread, self._sleeping = self._thread, True
            self._ring()
            channels = list(self._channels.values())
        for channel in channels:
            channel.poke()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def after_fork(self) -> None:
        """In the child: nothing of the parent's thread and connection is used."""
        if self._line is not None:
            _abandoned.append(self._line)  # closing it would end the parent's
        for end in self._bell or ():
            end.close()
        self._start_over()
        for channel in self._channels.values():
            channel.forget()

    # -- waking ---------------------------------------------------------------------------

    def _committed(self, tenant: str, revision: int) -> None:
        """A commit of this process."""
        with self._lock:
            channel = self._channels.get(tenant)
            if channel is None:
                return
            if not self._alone:
                if self._thread is not None:
                    if self._dirty is not None:
                        self._dirty.add(tenant)
                    self._ring()
                return
        channel.happened(next(self._numbers))

    def _ring(self) -> None:
        """Wake the thread; needs the lock."""
        if self._sleeping and self._bell is not None:
            self._sleeping = False
            with contextlib.suppress(OSError):  # full: it rings already
                self._bell[1].send(b"!")

    # -- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._loop()
                return
            except Exception as error:  # noqa: BLE001 - readers would wait for ever
                logger.error("the feed stumbled: %s", type(error).__name__)  # noqa: TRY400
                time.sleep(_LOST)

    def _loop(self) -> None:
        last, failed = 0.0, False
        while self._wanted():
            self._open_line()
            self._hear()
            with self._lock:
                dirty, self._dirty = self._dirty, set()
            due = last + self._interval(failed)
            whole = dirty is None or failed or time.monotonic() >= due
            if whole or dirty:
                failed = not self._look(None if whole else dirty)
                if whole or failed:
                    last = time.monotonic()
                # What comes in the next moment is taken together.
                time.sleep(BREATH)
            self._rest(last + self._interval(failed) - time.monotonic())

    def _interval(self, failed: bool) -> float:
        return self.safety if self.notified and not failed else self.poll

    def _wanted(self) -> bool:
        """Whether there is anybody to look for; forgets tenants without readers."""
        now = time.monotonic()
        with self._lock:
            last = 0.0
            for tenant, channel in list(self._channels.items()):
                if not channel.interests:
                    last = max(last, channel.quiet_since)
                    if now - channel.quiet_since > _FORGET:
                        del self._channels[tenant]
                else:
                    last = now
            if not self.closed and now - last <= LINGER:
                return True
            self._thread = None  # the next one has a line of its own
            line, self._line = self._line, None
            bell, self._bell = self._bell, None
        for thing in (line, *(bell or ())):
            if thing is not None:
                thing.close()
        return False

    def _rest(self, seconds: float) -> None:
        """Sleep until the bell rings, something is announced, or the time is over."""
        with self._lock:
            if self._dirty is None or self._dirty or self.closed:
                return
            self._sleeping = True
            bell = self._bell
        assert bell is not None
        sources: list[HasFileno] = [bell[0]]
        if self._line is not None:
            sources.append(self._line)
        ready = _readable(sources, min(seconds, LINGER))
        with self._lock:
            self._sleeping = False
        if 0 in ready:
            with contextlib.suppress(OSError):
                bell[0].recv(64)

    def _open_line(self) -> None:
        if self._line is not None or time.monotonic() < self._next_line:
            return
        try:
            self._line = open_notifications(self._database)
        except ExpressoPersistError:
            self._next_line = time.monotonic() + _LOST
            return
        self._next_line = time.monotonic() + _RETRY_LINE
        self._announced, self._found, self._overdue = {}, {}, {}
        self._fresh = True  # what was committed before is not announced
        if self._line is not None:
            with self._lock:
                self._dirty = None

    def _hear(self) -> None:
        """Take in what was announced."""
        if self._line is None:
            return
        heard = self._line.received()
        if heard is None:
            self._drop_line(_LOST)
            return
        with self._lock:
            for tenant, revision in heard:
                channel = self._channels.get(tenant)
                if channel is None:
                    continue
                self._announced[tenant] = revision
                # One of this process is known by the time that it is announced.
                if channel.revision != revision and self._dirty is not None:
                    self._dirty.add(tenant)

    def _drop_line(self, retry: float) -> None:
        line, self._line = self._line, None
        self._next_line = time.monotonic() + retry
        if line is not None:
            line.close()
        with self._lock:
            self._dirty = None

    def _look(self, only: set[str] | None) -> bool:
        """Ask where the tenants stand, and tell; whether the database answered."""
        with self._lock:
            channels = {
                tenant: channel
                for tenant, channel in self._channels.items()
                if only is None or tenant in only
            }
        if not channels:
            return True
        self.looks += 1
        columns = (tenants.c.tenant_id, tenants.c.epoch, tenants.c.revision, tenants.c.head_hash)
        query = sa.select(*columns).where(tenants.c.tenant_id.in_(list(channels)))
        try:
            rows = self._database.fetch_all(query)
        except ExpressoPersistError:
            self._drop_line(_LOST)
            with self._lock:
                self._dirty = set()  # the clock says when to ask again
            return False
        for row in rows:
            channel = channels[row.tenant_id]
            head = Head(row.epoch, row.revision, row.head_hash)
            known, before = channel.recent, channel.revision
            if known is not None and known.cursor == head.cursor:
                continue
            if known is not None and head.revision > before and not self._fresh:
                self._found[row.tenant_id] = head.revision
            self._advance(channel, head)
        if only is None:
            self._distrust()
        return True

    def _distrust(self) -> None:
        """Give LISTEN up where a commit was found that was not announced.

        It had the time between two looks at everything for that, which is seconds.
        """
        late = any(
            self._announced.get(tenant, 0) < revision for tenant, revision in self._overdue.items()
        )
        self._overdue, self._found, self._fresh = self._found, {}, False
        if self._line is not None and late:
            self._drop_line(_RETRY_LINE)
            with self._lock:
                self._dirty = set()

    def _advance(self, channel: Channel, head: Head) -> None:
        channel.recent, channel.revision = _caught_up(self._database, channel, head)
        channel.happened(next(self._numbers))


def _caught_up(database: Database, channel: Channel, head: Head) -> tuple[Recent, int]:
    """The recent commits of a channel, up to at least ``head``, and their last revision."""
    if channel.recent is not None:
        with contextlib.suppress(ExpressoPersistError):
            page = InventoryRepository(database, channel.tenant).changes(channel.recent.cursor)
            if page.commits and not page.has_more:
                found = encode(head.epoch, page.commits)
                return channel.recent.extended(found), page.commits[-1].revision
    return Recent(head.cursor), head.revision


def _readable(sources: Sequence[HasFileno], seconds: float) -> set[int]:
    """File descriptors, as places in ``sources``, that have something to read."""
    if hasattr(select, "poll"):  # select() knows no file descriptor above 1023
        poller = select.poll()
        numbers = [source.fileno() for source in sources]
        for number in numbers:
            poller.register(number, select.POLLIN)
        return {numbers.index(number) for number, _ in poller.poll(max(0.0, seconds) * 1000)}
    ready, _, _ = select.select(sources, (), (), max(0.0, seconds))
    return {sources.index(source) for source in ready}


class HasFileno(Protocol):
    """A socket, or what has one."""

    def fileno(self) -> int:
        """The file descriptor."""
        ...


_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
_abandoned: list[Notifications] = []
_making = threading.Lock()


def hub_of(database: Database) -> Hub:
    """The hub of a database; all stores and tenants of the process share it."""
    with _making:
        found = database.extensions.get("feed")
        if not isinstance(found, Hub) or found.closed:
            found = database.extensions["feed"] = Hub(database.of(None))
        return found


def close_hub(database: Database) -> None:
    """End the hub of a database, if there is one."""
    found = database.extensions.get("feed")
    if isinstance(found, Hub):
        found.close()


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - somebody may have held it
    _making = threading.Lock()
    for hub in list(_hubs):
        hub.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
