"""Plain requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from expresso_persist.http.live import Later

__all__ = ["Request", "Response"]


@attrs.frozen
class Request:
    """What a handler gets.

    Attributes:
        method: ``GET``, ``HEAD`` or ``POST``.
        path: The path, prefix included.
        query: The query's parameters, the last of each.
        headers: The headers, looked up by names in lower case.
        body: The body, already within the endpoint's limit.
        path_params: What the path's placeholders matched.
        stream: The body of an endpoint that takes files, to be read as it arrives.
        client: The network address it came from, as the framework tells it.
        scheme: ``http`` or ``https``, as the framework tells it: only it knows which proxies to
            trust.
        native: The framework's own request, for an ``authorize`` hook of the host.
        can_wait: Whether the server can keep the request open at all; one that has a single
            thread cannot. Under eventlet and gevent the library finds out by itself.
        again: Runs a function as if the request came once more, for frameworks whose hooks
            look at the current request instead of the one they are given.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    path_params: Mapping[str, str] = attrs.field(factory=dict)
    stream: IO[bytes] | None = None
    client: str = ""
    scheme: str = "http"
    native: Any = None
    can_wait: bool = True
    again: Callable[[Callable[[], Any]], Any] | None = None


@attrs.frozen
class Response:
    """What a handler gives back.

    Attributes:
        status: The status code.
        body: The whole body.
        headers: Headers besides those that every answer has.
        stream: Pieces of the body instead of ``body``; an adapter that stops early closes
            the iterator.
        later: A place to wait for a better answer; whoever does not want to, or cannot,
            closes it and gives this one.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    stream: Iterator[bytes] | None = None
    later: Later | None = None
