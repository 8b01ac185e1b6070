"""Plain requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        native: The framework's own request, for an ``authorize`` hook of the host.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    path_params: Mapping[str, str] = attrs.field(factory=dict)
    native: Any = None


@attrs.frozen
class Response:
    """What a handler gives back: status, headers and the whole body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
