"""ResponseCache: the encoded answer of the current revision, made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from expresso_persist.http.messages import Request, Response
from expresso_persist.store import Store

__all__ = ["ResponseCache"]

_KEPT = 32


class ResponseCache:
    """Bodies by tenant and name, each with the ETag of the revision that it shows."""

    def __init__(self) -> None:
        """Start empty."""
        self._bodies: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def respond(
        self, request: Request, store: Store, name: str, build: Callable[[], tuple[str, bytes]]
    ) -> Response:
        """The body of the current revision; 304 where the client has it.

        Args:
            request: What the client has, by ``If-None-Match``.
            store: Whose revision.
            name: Which body.
            build: Makes the ETag and the body.
        """
        etag = store.inventory.head().etag
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if _has(request.headers.get("if-none-match"), etag):
            return Response(304, b"", headers)
        place = (store.tenant, name)
        with self._lock:
            kept = self._bodies.get(place)
        if kept is None or kept[0] != etag:
            kept = build()
            with self._lock:
                self._bodies[place] = kept
                self._bodies.move_to_end(place)
                while len(self._bodies) > _KEPT:
                    self._bodies.popitem(last=False)
        return Response(200, kept[1], {**headers, "ETag": kept[0]})


def _has(if_none_match: str | None, etag: str) -> bool:
    """Whether the client holds this version; a proxy that compresses makes tags weak."""
    if if_none_match is None:
        return False
    return etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
