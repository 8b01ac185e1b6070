"""Flask's requests and responses as the library's, and back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import attrs
import flask
from werkzeug.exceptions import HTTPException

from expresso_persist.http.live import PATIENCE
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.streams import EventStream

__all__ = ["give", "neutral", "staying"]

_SCHEMES = {"ws": "http", "wss": "https"}
_EVENTLET_CHUNK = 8096
"""Bytes that eventlet's server collects before it sends any, unless it is told otherwise."""


def neutral(path_params: dict[str, str]) -> Request:
    """Flask's current request."""
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


def give(response: Response) -> flask.Response:
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


def staying(request: Request) -> Request:
    """The current request as one that may be answered for as long as the client likes."""
    environ = flask.request.environ
    _hurry(environ.get("gunicorn.socket"))
    return attrs.evolve(
        request,
        # One thread for everything must not wait for anything.
        can_wait=bool(environ.get("wsgi.multithread")),
        again=_again(flask.current_app._get_current_object(), environ),  # type: ignore[attr-defined]  # noqa: SLF001
    )


def _again(app: flask.Flask, environ: dict[str, Any]) -> Callable[[Callable[[], Any]], Any]:
    """Runs a function as if the request came once more, with the host's hooks around it.

    Not within the request that goes on: what the host's hooks open for a request (a session
    of its database) they close at its end, and a stream may take the whole day.
    """

    def run(action: Callable[[], Any]) -> Any:
        with app.request_context({**environ, "wsgi.input": _Nothing()}):
            try:
                stopped = app.preprocess_request() is not None
            except HTTPException:
                stopped = True
            return None if stopped else action()

    return run


class _Nothing:
    """The body of a request that came once more: it was read the first time."""

    def read(self, _size: int = -1) -> bytes:
        return b""

    def readline(self, _size: int = -1) -> bytes:
        return b""


def _hurry(connection: object) -> None:
    """A client that takes nothing for too long keeps no thread."""
    if isinstance(connection, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
        with contextlib.suppress(OSError):  # a Unix socket
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(PATIENCE * 1000)
            )
