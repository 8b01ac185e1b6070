"""A line between clients and one server, which breaks as lines at a venue do."""

from __future__ import annotations

import asyncio
import contextlib
import random

__all__ = ["Line"]

_REFUSALS = {
    429: b"HTTP/1.1 429 Too Many Requests",
    503: b"HTTP/1.1 503 Service Unavailable",
    500: b"HTTP/1.1 500 Internal Server Error",
}


class Line:
    """Forwards bytes of HTTP, until it is told otherwise.

    Attributes:
        refuse: Answer every new request with this status instead of asking the server.
        deaf: Requests reach the server, and its answers get lost.
        forgetful: Take ``Idempotency-Key`` out of the requests, as a check of the checker, and
            lose an answer now and then, so that there is something to forget.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refuse: int | None = None
        self.deaf = False
        self.forgetful = False
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Begin to listen; :attr:`port` is where."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self, share: float = 1.0) -> None:
        """Cut the connections there are, or a share of them."""
        for writer in [*self._open]:
            if random.random() < share:
                writer.transport.abort()

    async def close(self) -> None:
        """Stop, and let everybody come to an end."""
        if self._server is not None:
            self._server.close()
        while self._open:
            self.cut()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        answers: asyncio.Task[None] | None = None
        try:
            back, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(upstream)
            answers = asyncio.create_task(self._answers(back, writer))
            while data := await reader.read(65536):
                if self.refuse is not None:
                    start = _REFUSALS[self.refuse]
                    writer.write(start + b"\r\nRetry-After: 0\r\nContent-Length: 0\r\n"
                                 b"Connection: close\r\n\r\n")  # fmt: skip
                    await writer.drain()
                    break
                if self.forgetful:
                    data = data.replace(b"dempotency-", b"dempotency_")
                upstream.write(data)
                await upstream.drain()
        except OSError:
            pass
        finally:
            if answers is not None:
                answers.cancel()
            for end in (writer, upstream):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await back.read(65536):
                if self.deaf or (self.forgetful and random.random() < 0.1):
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
