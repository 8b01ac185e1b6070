"""Server-sent events: their format, and the stream that WSGI servers iterate."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from expresso_persist.feed import Encoded
from expresso_persist.http.call import Call
from expresso_persist.http.live.subscription import Format, Subscription, deliver

__all__ = ["FIRST", "SSE", "EventStream", "brief_events", "sse_mark"]

FIRST = b"retry: 2000\n\n"
"""How a stream begins: the browser comes back two seconds after its end."""


class EventStream(Iterator[bytes]):
    """A stream of events, which ends when it is closed, iterated to its end, or dropped.

    Attributes:
        subscription: Its place in the feed, for adapters that wait in another way.
        first: What is sent before the events.
    """

    def __init__(self, subscription: Subscription, first: bytes) -> None:
        """Stream what ``subscription`` gets, after ``first``."""
        self.subscription = subscription
        self.first = first
        self._pieces = self._run()

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """End it and give its place back."""
        # Not through the generator: it may be waiting in another thread.
        self.subscription.close()
        self.subscription.channel.poke()

    def __del__(self) -> None:
        self.subscription.close()  # a host's middleware may drop what it never iterated

    def _run(self) -> Iterator[bytes]:
        try:
            yield self.first
            yield from deliver(self.subscription)
        finally:
            self.subscription.close()


def brief_events(call: Call, since: str) -> bytes:
    """A page of commits after a cursor as server-sent events, complete.

    For a server that cannot keep the connection: a browser's ``EventSource`` comes back with
    the last ``id``, so that it polls. One page at a time, because nothing else runs meanwhile.

    Raises:
        InvalidInput: The cursor cannot be read.
        DatabaseUnavailable: The database does not answer.
    """
    feed = call.store.feed
    page = feed.page(feed.start(since))
    pieces = [b"retry: 100\n\n" if page.has_more else FIRST]
    if page.reset:
        pieces.append(SSE.reset(page.cursor))
    pieces += map(SSE.commit, page.entries)
    if page.reset or since == "now":
        pieces.append(sse_mark(page.cursor))
    return b"".join(pieces)


def sse_mark(cursor: str) -> bytes:
    """A block without an event: the ``id`` with which the client comes back."""
    return b"id: %s\n\n" % cursor.encode()


def _commit(entry: Encoded) -> bytes:
    return b"event: commit\nid: %s\ndata: %s\n\n" % (entry.cursor.encode(), entry.json)


def _reset(cursor: str) -> bytes:
    return b"event: reset\ndata: %s\n\n" % msgspec.json.encode({"cursor": cursor})


def _end(code: str) -> bytes:
    return b"event: end\ndata: %s\n\n" % msgspec.json.encode({"code": code})


SSE: Format = Format(_commit, _reset, b": alive\n\n", _end)
