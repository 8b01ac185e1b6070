"""LongPoll: a request for changes that waits until there are some."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from expresso_persist.feed.channel import Channel
from expresso_persist.http.call import Call
from expresso_persist.http.live.greenlets import may_wait
from expresso_persist.http.messages import Response

__all__ = ["LongPoll", "PendingResponse", "begin_long_poll"]


@attrs.define(eq=False)
class LongPoll:
    """A place to wait for the next commit.

    Attributes:
        channel: Where to wait.
        seen: The channel's generation before the database was asked.
        until: When to stop, by the monotonic clock.
        cursor: After what; ``now`` is resolved by then.
    """

    channel: Channel
    seen: int
    until: float
    cursor: str
    _leave: Callable[[], None]

    def time_left(self) -> float:
        """Seconds left to wait."""
        return self.until - time.monotonic()

    def wait(self) -> None:
        """Wait, keeping a thread."""
        self.channel.wait(self.seen, max(0.0, self.time_left()), lambda: False)

    def close(self) -> None:
        """Give the place back."""
        self._leave()


@attrs.frozen
class PendingResponse(Response):
    """An empty answer that waiting may improve.

    Attributes:
        long_poll: Where to wait; an adapter that does not closes it and sends the empty answer.
    """

    long_poll: LongPoll = attrs.field(kw_only=True)


def begin_long_poll(call: Call, cursor: str, seconds: float) -> LongPoll | None:
    """Take a place to wait; None if this server cannot afford one now."""
    slots, owner = call.services.slots, call.slot_owner
    if not (may_wait(call.request) and slots.take(owner)):
        return None
    hub, token = call.store.feed.hub, object()
    channel = hub.enter(call.store.tenant, token)

    def leave() -> None:
        hub.leave(channel, token)
        slots.release(owner)

    return LongPoll(channel, channel.generation, time.monotonic() + seconds, cursor, leave)
