"""Feed and Subscription: commits as they come, for displays and scripts."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import attrs

from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.trail import read_cursor
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.feed.channel import Channel
from expresso_persist.feed.hub import Hub, hub_of
from expresso_persist.feed.recent import Encoded, encode
from expresso_persist.model.records import Commit, Head

__all__ = ["Feed", "FeedEvent", "Page", "Subscription"]

_PAGE = 50
_RETRY = 1.0  # seconds until a database that did not answer is asked again
_CATCHING_UP = 4  # reads of old commits at a time, so that many who lag share the memory


@attrs.frozen
class FeedEvent:
    """What happened next.

    Attributes:
        cursor: Where to go on after it, for :meth:`Feed.subscribe`.
        commit: The commit, or None for a reset: the database was replaced by another or
            older copy, so that everything has to be read again.
    """

    cursor: str
    commit: Commit | None

    @property
    def reset(self) -> bool:
        """Whether everything has to be read again."""
        return self.commit is None


@attrs.frozen
class Page:
    """Commits after a cursor, encoded, and how far they reach."""

    entries: tuple[Encoded, ...]
    cursor: str
    reset: bool
    has_more: bool


class Feed:
    """New commits of one tenant."""

    def __init__(self, inventory: InventoryRepository) -> None:
        """Look at ``inventory``; nothing runs before somebody waits."""
        self._inventory = inventory

    @property
    def hub(self) -> Hub:
        """What waits for new commits, shared by the whole process."""
        return hub_of(self._inventory.database)

    @property
    def tenant(self) -> str:
        """Whose commits."""
        return self._inventory.tenant

    def subscribe(
        self, since: str | int | None = None, *, timeout: float | None = None
    ) -> Subscription:
        """Commits after ``since`` as they come, in order, none missed and none twice.

        Args:
            since: The cursor of an event or an answer; 0 for everything from the first
                commit on, None for what comes from now on.
            timeout: Seconds without an event after which the iteration ends; None to wait
                until :meth:`Subscription.close`. A database that does not answer is waited
                for like one in which nothing happens.

        Raises:
            InvalidInput: The cursor cannot be read.
            DatabaseUnavailable: The database does not answer.
        """
        return Subscription(self._inventory, self.start(since), timeout)

    def start(self, since: str | int | None) -> str:
        """The cursor that ``since`` stands for; None and ``"now"`` are the newest commit.

        Raises:
            InvalidInput: It cannot be read.
        """
        if since is None or since == "now":
            return self._inventory.head().cursor
        read_cursor(since)
        return str(since)

    def page(self, cursor: str) -> Page:
        """The next commits after a cursor from the database, encoded.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        with _catching_up:
            page = self._inventory.changes(cursor, _PAGE)
            epoch = page.cursor.partition(".")[0]
            entries = tuple(encode(epoch, page.commits))
            return Page(entries, page.cursor, page.reset, page.has_more)


class Subscription(Iterator[FeedEvent]):
    """An endless iterator; also a context manager that closes it.

    Attributes:
        cursor: Where it stands, to go on from later.
    """

    def __init__(
        self, inventory: InventoryRepository, cursor: str, timeout: float | None = None
    ) -> None:
        """See :meth:`Feed.subscribe`."""
        self.cursor: str = cursor
        self._inventory = inventory
        self._timeout = timeout
        self._ready: deque[FeedEvent] = deque()
        self._closed = threading.Event()
        self._channel: Channel | None = None

    def __next__(self) -> FeedEvent:
        """The next event.

        Raises:
            StopIteration: It was closed, or nothing came within the timeout.
        """
        if not self._ready and not self._closed.is_set():
            self._fetch()
        if self._closed.is_set() or not self._ready:
            raise StopIteration
        event = self._ready.popleft()
        self.cursor = event.cursor
        return event

    def _fetch(self) -> None:
        hub = hub_of(self._inventory.database)
        until = None if self._timeout is None else time.monotonic() + self._timeout
        channel = self._channel = hub.enter(self._inventory.tenant, self)
        try:
            while not self._closed.is_set() and not hub.closed:
                seen, retry = channel.generation, None
                try:
                    self._read()
                except DatabaseUnavailable:
                    retry = _RETRY
                if self._ready:
                    return
                rest = None if until is None else until - time.monotonic()
                if rest is not None and rest <= 0:
                    return
                if retry is not None and rest is not None:
                    retry = min(retry, rest)
                channel.wait(
                    seen,
                    rest if retry is None else retry,
                    lambda: self._closed.is_set() or hub.closed,
                )
        finally:
            hub.leave(channel, self)

    def _read(self) -> None:
        page = self._inventory.changes(self.cursor, _PAGE)
        if page.reset:
            self._ready.append(FeedEvent(page.cursor, None))
        epoch = page.cursor.partition(".")[0]
        for commit in page.commits:
            cursor = Head(epoch, commit.revision, commit.hash).cursor
            self._ready.append(FeedEvent(cursor, commit))

    def close(self) -> None:
        """End it, from any thread; one that waits for the next event stops waiting."""
        self._closed.set()
        channel = self._channel
        if channel is not None:
            channel.poke()

    def __enter__(self) -> Self:
        """Use it in a ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


_catching_up = threading.BoundedSemaphore(_CATCHING_UP)
