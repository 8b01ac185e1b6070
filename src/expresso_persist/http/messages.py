"""Plain requests and responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

import attrs

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
        native: The framework's own request, for an ``authorize`` hook of the host.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    path_params: Mapping[str, str] = attrs.field(factory=dict)
    stream: IO[bytes] | None = None
    native: Any = None


@attrs.frozen
class Response:
    """What a handler gives back.

    Attributes:
        status: The status code.
        body: The whole body.
        headers: Headers besides those that every answer has.
        stream: Pieces of the body instead of ``body``; an adapter that stops early closes
            the iterator.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    stream: Iterator[bytes] | None = None
