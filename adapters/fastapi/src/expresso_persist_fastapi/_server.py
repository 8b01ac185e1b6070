"""uvicorn for `expresso-persist serve`: no slow clients, and none that reads nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from expresso_persist.http.adapter import HEADERS, STALLED

__all__ = ["PunctualProtocol"]


_Base: Any = AutoHTTPProtocol


class PunctualProtocol(_Base):  # type: ignore[misc]
    """HTTP, where the headers of a request come within :data:`HEADERS` seconds.

    uvicorn waits for ever for a connection's first request, and for the rest of headers, and for
    a client that does not read its answer. The minimum rate of bodies is the adapter's.
    """

    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _unread = 0
    _took = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()
        self._watch_reader()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._took = True  # more may wait after it than before

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def _watch_reader(self) -> None:
        """End a connection that took nothing of what waits for it since the last look."""
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        took, self._took = self._took, False
        if not took and 0 < before <= self._unread and self.transport.get_protocol() is self:
            self.transport.abort()  # to close it would wait for the client to read
            return
        self._reading = self.loop.call_later(STALLED / 2, self._watch_reader)

    def _watch(self) -> None:
        if not self._waits():
            self._rest()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS, self._too_slow)

    def _waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        # A WebSocket has another protocol on the same connection.
        if self._waits() and self.transport.get_protocol() is self:
            self.transport.close()
