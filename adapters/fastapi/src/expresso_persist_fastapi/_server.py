"""uvicorn for `expresso-persist serve`: a request that comes too slowly ends."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from expresso_persist.http.adapter import HEADERS

__all__ = ["PunctualProtocol"]

_Base: Any = AutoHTTPProtocol


class PunctualProtocol(_Base):  # type: ignore[misc]
    """HTTP, where the headers of a request come within :data:`HEADERS` seconds.

    uvicorn waits for ever for a connection's first request, and for the rest of headers. The
    minimum rate of bodies is the adapter's.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

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
