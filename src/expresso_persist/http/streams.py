"""Connections that stay, each keeping a thread: what WSGI servers iterate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from expresso_persist.errors import ExpressoPersistError
from expresso_persist.http.live import HELLO_WITHIN, Listening, Refusal

__all__ = ["EventStream", "messages", "run_socket", "steps"]


class EventStream(Iterator[bytes]):
    """Server-sent events; whoever iterates or drops it closes it.

    Attributes:
        listening: Its place in the feed, for those who wait in another way.
    """

    def __init__(self, listening: Listening, first: bytes) -> None:
        """Stream what ``listening`` gets, after ``first``."""
        self.listening = listening
        self.first = first
        self._pieces = self._run()

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """End it and give its place back."""
        # Not through the generator: it may be waiting in another thread.
        self.listening.close()
        self.listening.channel.poke()

    def __del__(self) -> None:
        self.listening.close()  # a host's middleware may drop what it never iterated

    def _run(self) -> Iterator[bytes]:
        try:
            yield self.first
            yield from steps(self.listening)
        finally:
            self.listening.close()


def steps(listening: Listening, wait: Callable[[float], None] | None = None) -> Iterator[bytes]:
    """What to send, one after the other, until it ends."""
    wait = wait or listening.wait
    while not (listening.closed or listening.hub.closed):
        piece = listening.fetch()
        if piece:
            yield piece
        if listening.heartbeat_due():
            try:
                sign = listening.heartbeat()
            except ExpressoPersistError:
                return  # it comes again and gets an answer that tells why
            if sign is None:
                yield listening.end("unauthorized")
                return
            yield sign
        elif not piece and not listening.news():
            wait(listening.rest())


def messages(piece: bytes) -> list[str]:
    """A piece of a socket as its messages."""
    # Not splitlines(): it knows line ends that JSON may hold.
    return piece.decode().rstrip("\n").split("\n")


def run_socket(
    greet: Callable[[str | bytes | None], Listening],
    *,
    receive: Callable[[float], str | bytes | None],
    send: Callable[[str], None],
    alive: Callable[[], bool],
) -> int:
    """Serve a WebSocket that was accepted; the number to close it with.

    Args:
        greet: Begins it by the first message.
        receive: The next message, or None after so many seconds without one.
        send: Sends one.
        alive: Whether the other side is there.
    """
    try:
        listening = greet(receive(HELLO_WITHIN))
    except Refusal as refusal:
        send(refusal.message)
        return refusal.number

    def wait(seconds: float) -> None:
        # Nobody tells when the other side goes; looking now and then frees the thread soon.
        until = time.monotonic() + seconds
        while alive() and not listening.news() and (rest := until - time.monotonic()) > 0:
            listening.wait(min(rest, 1.0))

    with contextlib.closing(listening):
        ended = False
        for piece in steps(listening, wait):
            ended = piece == listening.end("unauthorized")
            for message in messages(piece):
                send(message)
            if not alive():
                break
    return 4401 if ended else 1001
