"""Subscription: one connection's place in the feed, and the loop that serves it.

The loop does no I/O and does not wait. It yields what to do next, and a driver does it: with
threads (:func:`deliver`) or in an event loop (:mod:`.event_loop`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs

from expresso_persist.errors import DatabaseUnavailable, ExpressoPersistError, TooManyStreams
from expresso_persist.feed import Encoded, Hub
from expresso_persist.feed.channel import Channel
from expresso_persist.http.call import Call
from expresso_persist.http.live.greenlets import may_wait

__all__ = ["PATIENCE", "Format", "Step", "Subscription", "deliver"]

RETRY = 1.0
"""Seconds until a database that did not answer is asked again."""

PATIENCE = 30.0
"""Seconds that a client may take to accept what it was sent."""

Step: TypeAlias = bytes | float | Callable[[], None]
"""What a driver does next: send bytes, wait for news or some seconds, or call a function that
may ask the database."""


@attrs.frozen
class Format:
    """How a kind of connection writes what it sends."""

    commit: Callable[[Encoded], bytes]
    reset: Callable[[str], bytes]
    heartbeat: bytes
    end: Callable[[str], bytes]


class Subscription:
    """It holds a cursor and at most a page of commits, however slowly the client reads."""

    def __init__(self, call: Call, cursor: str, form: Format) -> None:
        """Subscribe ``call`` to what comes after ``cursor``.

        Raises:
            InvalidInput: The cursor cannot be read.
            TooManyStreams: This server cannot afford another connection.
        """
        self._call = call
        self._form = form
        start = call.store.feed.start(cursor)
        if not (may_wait(call.request) and call.services.slots.take(call.slot_owner)):
            raise TooManyStreams(retry_after=5)
        self.cursor: str = start
        self.hub: Hub = call.store.feed.hub
        self.channel: Channel = self.hub.enter(call.store.tenant, self)
        self.closed: bool = False
        self.revoked: bool = False
        self._failed = False
        self._seen = self.channel.generation - 1
        self._retry_at: float | None = None
        self._piece = b""
        self._closing = threading.Lock()
        self._heartbeat_at = time.monotonic() + call.services.heartbeat

    @property
    def tenant(self) -> str:
        """Whose commits."""
        return self._call.store.tenant

    def steps(self) -> Iterator[Step]:
        """What to do, one step after the other, until the connection ends."""
        while not self.ended:
            if not self._take_recent():
                yield self._fetch
            piece = self._piece
            if piece:
                yield piece
            if time.monotonic() >= self._heartbeat_at:
                yield self._check
                if self._piece:
                    yield self._piece
            elif not piece and not self.has_news():
                yield self._time_left()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to send."""
        return self.closed or self.revoked or self._failed or self.hub.closed

    def has_news(self) -> bool:
        """Whether it is worth looking again."""
        return (
            self.channel.generation != self._seen
            or self.ended
            or (self._retry_at is not None and time.monotonic() >= self._retry_at)
        )

    def wait(self, seconds: float) -> None:
        """Wait for news, keeping a thread."""
        self.channel.wait(self._seen, seconds, lambda: self.closed or self.hub.closed)

    def close(self) -> None:
        """Give the place back; the second time does nothing."""
        with self._closing:
            if self.closed:
                return
            self.closed = True
        self.hub.leave(self.channel, self)
        self._call.services.slots.release(self._call.slot_owner)

    def _take_recent(self) -> bool:
        """Take what the hub has read already; False if the database has to be asked."""
        self._seen = self.channel.generation
        recent = self.channel.recent
        found = None if recent is None else recent.joined(self.cursor, self._form.commit)
        self._piece = found or b""
        if recent is not None and found:
            self.cursor = recent.cursor
        return found is not None

    def _fetch(self) -> None:
        """Take a page from the database; nothing while it does not answer."""
        try:
            page = self._call.store.feed.page(self.cursor)
        except DatabaseUnavailable:
            self._retry_at = time.monotonic() + RETRY
            return
        self._retry_at, self.cursor = None, page.cursor
        if page.reset:
            self._piece = self._form.reset(page.cursor)
        else:
            self._piece = b"".join(map(self._form.commit, page.entries))

    def _check(self) -> None:
        """Authorise the actor again; then it is the heartbeat that is sent, or the end."""
        self._heartbeat_at = time.monotonic() + self._call.services.heartbeat
        self._piece = b""
        try:
            self.revoked = not self._call.still_allowed()
        except ExpressoPersistError:
            self._failed = True  # the client comes back, and gets the reason as an answer
            return
        self._piece = self._form.end("unauthorized") if self.revoked else self._form.heartbeat

    def _time_left(self) -> float:
        """Seconds to wait at most: to the heartbeat, or until the database is asked again."""
        due = self._heartbeat_at
        if self._retry_at is not None:
            due = min(due, self._retry_at)
        return max(0.0, due - time.monotonic())


def deliver(
    subscription: Subscription, wait: Callable[[float], None] | None = None
) -> Iterator[bytes]:
    """What to send, keeping a thread.

    Args:
        subscription: The connection's place in the feed.
        wait: Waits for news, at most so many seconds; :meth:`Subscription.wait` when left out.
    """
    for step in subscription.steps():
        if isinstance(step, bytes):
            yield step
        elif callable(step):
            step()
        else:
            (wait or subscription.wait)(step)
