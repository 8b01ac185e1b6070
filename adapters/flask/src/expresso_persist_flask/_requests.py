"""Flask's requests and responses as the library's, and back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import attrs
import flask
from werkzeug.exceptions import HTTPException

from expresso_persist.http.adapter import PATIENCE, EventStream, Request, Response

__all__ = ["long_lived", "to_request", "to_response"]

_SCHEMES = {"ws": "http", "wss": "https"}
_EVENTLET_CHUNK = 8096
"""Bytes that eventlet's server collects before it sends any, by default."""


def to_request(path_params: dict[str, str]) -> Request:
    """Flask's current request as the library's."""
    request = flask.request
    return Request(
        request.method,
        request.path,
        {name: values[-1] for name, values in request.args.lists()},
        cast("Mapping[str, str]", request.headers),  # finds a name in any case
        path_params=path_params,
        client=request.remote_addr or "",
        scheme=_SCHEMES.get(request.scheme, request.scheme),
        native=request,
    )


def to_response(response: Response) -> flask.Response:
    """The response as Flask's."""
    body = response.body if response.stream is None else response.stream
    if isinstance(body, EventStream) and "eventlet.input" in flask.request.environ:
        body = _filled(body)
    return flask.Response(body, response.status, dict(response.headers))


def _filled(events: EventStream) -> Iterator[bytes]:
    """Events, each long enough to be sent at once.

    eventlet's server collects pieces up to its ``minimum_chunk_size``. A smaller one can be set
    in the request's environ, of which Flask-SocketIO hands us a copy.
    """
    with contextlib.closing(events):
        for piece in events:
            yield piece + b":%s\n\n" % (b" " * (_EVENTLET_CHUNK - len(piece)))


def long_lived(request: Request) -> Request:
    """The current request, prepared for an answer that takes as long as the client waits."""
    environ = flask.request.environ
    _limit_sending(environ.get("gunicorn.socket"))
    return attrs.evolve(
        request,
        # A server with one thread must not wait.
        can_wait=bool(environ.get("wsgi.multithread")),
        in_new_context=_in_new_context(flask.current_app._get_current_object(), environ),  # type: ignore[attr-defined]  # noqa: SLF001
    )


def _in_new_context(
    app: flask.Flask, environ: dict[str, Any]
) -> Callable[[Callable[[], Any]], Any]:
    """Runs a function in a fresh context of the request, with the host's hooks around it.

    Not in the context of the running request: what the host's hooks open for a request (a
    session of its database) they close at its end, and a stream may take the whole day.
    """

    def run(action: Callable[[], Any]) -> Any:
        with app.request_context({**environ, "wsgi.input": _EmptyBody()}):
            try:
                stopped = app.preprocess_request() is not None
            except HTTPException:
                stopped = True
            return None if stopped else action()

    return run


class _EmptyBody:
    """The body in a fresh context: it was read in the first one."""

    def read(self, _size: int = -1) -> bytes:
        return b""

    def readline(self, _size: int = -1) -> bytes:
        return b""


def _limit_sending(connection: object) -> None:
    """See that a client that accepts nothing for too long keeps no thread."""
    if isinstance(connection, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
        with contextlib.suppress(OSError):  # a Unix socket
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(PATIENCE * 1000)
            )
