"""Plain requests and responses, and the JSON envelope of the API's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import attrs
import msgspec

from expresso_persist.errors import ExpressoPersistError

__all__ = ["Request", "Response", "failure", "joined", "standard_headers", "success"]


@attrs.frozen
class Request:
    """A request, independent of any framework.

    Attributes:
        method: ``GET``, ``HEAD`` or ``POST``.
        path: The path, prefix included.
        query: The query's parameters, the last of each.
        headers: The headers, looked up by names in lower case.
        body: The body, already within the endpoint's limit.
        path_params: What the path's placeholders matched.
        stream: The body of an endpoint that takes files, to be read as it arrives.
        client: The client's network address, as the framework reports it.
        scheme: ``http`` or ``https``, as the framework reports it: only it knows which proxies to
            trust.
        native: The framework's own request, for an ``authorize`` hook of the host.
        can_wait: Whether the server can keep the request open; one that has a single thread
            cannot. Under eventlet and gevent the library finds out by itself.
        in_new_context: Runs a function in a fresh request context, for frameworks whose hooks
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
    in_new_context: Callable[[Callable[[], Any]], Any] | None = None


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by names in lower case; one that comes several times has all its values.

    As RFC 9110 joins them, and WSGI servers do: neither the first nor the last one alone counts.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        comma = "; " if key == "cookie" else ", "
        found[key] = found[key] + comma + value if key in found else value
    return found


@attrs.frozen
class Response:
    """A response, independent of any framework.

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


def standard_headers() -> dict[str, str]:
    """The headers of every answer of the API; a handler's own replace them."""
    return {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        # No page may embed an answer, and no browser may take it for a page.
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Authorization, Cookie",
    }


def success(
    message: str,
    data: Any = None,
    revision: int | None = None,
    cursor: str | None = None,
    before: str | None = None,
    *,
    replayed: bool = False,
) -> Response:
    """The envelope of a success.

    Args:
        message: A sentence for people.
        data: The content.
        revision: The revision that the answer is about.
        cursor: Of a write, the position of its commit.
        before: Of a write, the position of the commit before it, where it is known.
        replayed: The answer was given before, under the same Idempotency-Key.
    """
    content: dict[str, Any] = {"success": True, "message": message}
    if data is not None:
        content["data"] = data
    if revision is not None:
        content["revision"] = revision
    if cursor is not None:
        content["cursor"] = cursor
    if before is not None:
        content["before"] = before
    return Response(200, _encode(content), {"Idempotency-Replayed": "true"} if replayed else {})


def failure(error: ExpressoPersistError) -> Response:
    """The envelope of an error."""
    content: dict[str, Any] = {
        "success": False,
        "error": error.message,
        "code": error.code,
        "details": [
            {"path": problem.path, "message": problem.message} for problem in error.problems
        ],
    }
    if error.context:
        content["data"] = dict(error.context)
    headers = standard_headers()
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return Response(error.status, msgspec.json.encode(content), headers)


def _encode(content: Any) -> bytes:
    """JSON, also of strings with half a surrogate pair, for which UTF-8 has no bytes."""
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()
