"""Connections that stay, in an event loop of asyncio: none of them keeps a thread.

The database is asked in threads; but when everybody waits for the same commit, the hub has
read it already, and what happens for each of them happens here, without a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from expresso_persist.errors import ExpressoPersistError
from expresso_persist.feed.channel import Channel
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import Endpoint
from expresso_persist.http.live import HELLO_WITHIN, PATIENCE, SLOW, Listening, Refusal, greet
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.streams import messages

__all__ = ["handle", "pieces", "run_socket", "send_in_time"]

InThread = Callable[..., Awaitable[Any]]


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


async def handle(
    api: Api, endpoint: Endpoint, request: Request, in_thread: InThread, gone: asyncio.Future[Any]
) -> Response:
    """Answer a request as ``Api.handle`` does, waiting without a thread.

    Args:
        api: What answers.
        endpoint: Which endpoint.
        request: The request.
        in_thread: Runs a function with its arguments in a thread.
        gone: Is done when the other side is gone.
    """
    response: Response = await in_thread(api.begin, endpoint, request)
    while (later := response.later) is not None:
        with contextlib.closing(later), contextlib.closing(_Sleeper(later.channel)) as sleeper:
            gone.add_done_callback(sleeper.on_gone)
            while later.channel.generation == later.seen and later.rest() > 0 and not gone.done():
                await sleeper.sleep(later.rest())
        if gone.done():
            return response
        response = await in_thread(api.resume, endpoint, request, later)
    return response


async def pieces(
    listening: Listening, in_thread: InThread, gone: asyncio.Future[Any]
) -> AsyncGenerator[bytes, None]:
    """What to send, one after the other, until it ends."""
    with contextlib.closing(_Sleeper(listening.channel)) as sleeper:
        gone.add_done_callback(sleeper.on_gone)
        while not (listening.closed or listening.hub.closed or gone.done()):
            piece = listening.at_hand()
            if piece is None:
                piece = await in_thread(listening.fetch)
            if piece:
                yield piece
            if listening.heartbeat_due():
                try:
                    sign = await in_thread(listening.heartbeat)
                except ExpressoPersistError:
                    return  # it comes again and gets an answer that tells why
                if sign is None:
                    yield listening.end("unauthorized")
                    return
                yield sign
            elif not piece and not listening.news() and not gone.done():
                await sleeper.sleep(listening.rest())


async def send_in_time(sending: Awaitable[None]) -> bool:
    """Whether the other side took it; one that does not holds no memory for long."""
    try:
        async with asyncio.timeout(PATIENCE):
            await sending
    except TimeoutError:
        return False
    return True


async def run_socket(
    api: Api,
    endpoint: Endpoint,
    request: Request,
    in_thread: InThread,
    *,
    receive: Callable[[], Awaitable[str | bytes | None]],
    send: Callable[[str], Awaitable[None]],
) -> int | None:
    """Serve a WebSocket that was accepted; the number to close it with, None if it is gone.

    Args:
        api: What answers.
        endpoint: Which endpoint.
        request: The handshake.
        in_thread: Runs a function with its arguments in a thread.
        receive: The next message; None when the other side is gone.
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
        listening: Listening = await in_thread(greet, api, endpoint, request, hello)
    except Refusal as refusal:
        await send(refusal.message)
        return refusal.number

    async def until_gone() -> None:
        while await receive() is not None:
            pass  # nothing more is expected; a client that talks is not listened to

    gone = asyncio.ensure_future(until_gone())
    try:
        with contextlib.closing(listening):
            ended = False
            async with contextlib.aclosing(pieces(listening, in_thread, gone)) as coming:
                async for piece in coming:
                    ended = piece == listening.end("unauthorized")
                    for message in messages(piece):
                        if not await send_in_time(send(message)):
                            return SLOW
            if gone.done():
                return None
            return 4401 if ended else 1001
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await gone
