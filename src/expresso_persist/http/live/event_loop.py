"""Connections that stay open in an event loop of asyncio: none of them keeps a thread.

The database is asked in threads. When all wait for the same commit, the hub has read it already,
and it is delivered to each of them without a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

from expresso_persist.feed.channel import Channel
from expresso_persist.http.live.long_poll import LongPoll
from expresso_persist.http.live.subscription import PATIENCE, Subscription
from expresso_persist.http.live.websocket import (
    GOING_AWAY,
    HELLO_WITHIN,
    REVOKED,
    TOO_SLOW,
    Greet,
    Refusal,
    messages,
)

__all__ = ["InThread", "deliver", "run_socket", "send_in_time", "wait_for"]

InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in a thread."""


class _Gate:
    """Wakes those of one event loop who wait at a channel, by one call from the hub."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._sleepers: set[_Sleeper] = set()

    def add(self, sleeper: _Sleeper) -> None:
        self._sleepers.add(sleeper)
        self._channel.callbacks.add(self._ring)

    def remove(self, sleeper: _Sleeper) -> None:
        self._sleepers.discard(sleeper)
        if not self._sleepers:
            self._channel.callbacks.discard(self._ring)
            _gates.pop((self._loop, self._channel), None)

    def _ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop was closed without ending what ran in it
            self._channel.callbacks.discard(self._ring)

    def _wake(self) -> None:
        for sleeper in tuple(self._sleepers):
            sleeper.wake()


# Looked up and changed by each loop for itself only.
_gates: dict[tuple[asyncio.AbstractEventLoop, Channel], _Gate] = {}


class _Sleeper:
    """Waits for news, for the clock, or for the other side to go."""

    def __init__(self, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        key = (self._loop, channel)
        gate = _gates.get(key)
        if gate is None:
            gate = _gates[key] = _Gate(channel)
        self._gate = gate
        self._future: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        gate.add(self)

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Until :meth:`wake`, or some time before or at ``seconds`` from now."""
        due = self._loop.time() + max(0.0, seconds)
        # A timer that rings too early costs one more round; setting one for each commit and
        # connection costs more.
        if self._timer is None or self._timer.when() > due or self._timer.cancelled():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._on_time)
        self._future = self._loop.create_future()
        try:
            await self._future
        finally:
            self._future = None

    def on_gone(self, _: object) -> None:
        self.wake()

    def _on_time(self) -> None:
        self._timer = None
        self.wake()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._gate.remove(self)


async def wait_for(poll: LongPoll, gone: asyncio.Future[Any]) -> None:
    """Wait until there is news, the time is over, or ``gone`` is done."""
    with contextlib.closing(_Sleeper(poll.channel)) as sleeper:
        gone.add_done_callback(sleeper.on_gone)
        while poll.channel.generation == poll.seen and poll.time_left() > 0 and not gone.done():
            await sleeper.sleep(poll.time_left())


async def deliver(
    subscription: Subscription, in_thread: InThread, gone: asyncio.Future[Any]
) -> AsyncGenerator[bytes, None]:
    """What to send, until the connection ends or ``gone`` is done."""
    with contextlib.closing(_Sleeper(subscription.channel)) as sleeper:
        gone.add_done_callback(sleeper.on_gone)
        for step in subscription.steps():
            if gone.done():
                return
            if isinstance(step, bytes):
                yield step
            elif callable(step):
                await in_thread(step)
            else:
                await sleeper.sleep(step)


async def send_in_time(sending: Awaitable[None]) -> bool:
    """Whether the client took it; one that does not keeps no memory for long."""
    try:
        async with asyncio.timeout(PATIENCE):
            await sending
    except TimeoutError:
        return False
    return True


async def run_socket(
    greet: Greet,
    in_thread: InThread,
    *,
    receive: Callable[[], Awaitable[str | bytes | None]],
    send: Callable[[str], Awaitable[None]],
) -> int | None:
    """Serve an accepted WebSocket; the number to close it with, None if the client is gone.

    Args:
        greet: Subscribes it by the first message.
        in_thread: Runs a function with its arguments in a thread.
        receive: The next message; None when the client is gone.
        send: Sends one.
    """
    try:
        async with asyncio.timeout(HELLO_WITHIN):
            hello = await receive()
    except TimeoutError:
        hello = ""
    if hello is None:
        return None
    try:
        subscription: Subscription = await in_thread(greet, hello)
    except Refusal as refusal:
        await send(refusal.message)
        return refusal.number

    async def until_gone() -> None:
        while await receive() is not None:
            pass  # nothing more is expected; further messages are ignored

    gone = asyncio.ensure_future(until_gone())
    try:
        with contextlib.closing(subscription):
            async with contextlib.aclosing(deliver(subscription, in_thread, gone)) as pieces:
                async for piece in pieces:
                    for message in messages(piece):
                        if not await send_in_time(send(message)):
                            return TOO_SLOW
            if gone.done():
                return None
            return REVOKED if subscription.revoked else GOING_AWAY
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await gone
