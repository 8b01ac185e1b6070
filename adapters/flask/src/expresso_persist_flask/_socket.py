"""The WebSocket of the feed, by Flask-Sock where it is installed."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import attrs
import flask

from expresso_persist.http.access.origins import same_origin
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.http.greenlets import may_wait
from expresso_persist.http.live import HELLO_BYTES, PATIENCE, SLOW, Slots, greet
from expresso_persist.http.streams import run_socket
from expresso_persist_flask._requests import give, neutral, staying

__all__ = ["add_socket"]

# Where Flask-Sock finds the connection that the server lets it take over.
_SERVERS = ("werkzeug.socket", "gunicorn.socket", "eventlet.input")
_MISSING = (
    "This address is for WebSockets, which need one more package on the server: "
    'pip install "expresso-persist-flask[ws]"; or use the stream.'
)
_UNABLE = (
    "This address is for WebSockets. If that was one, the server cannot open it; gunicorn with "
    "threads can. Or use the stream."
)


def add_socket(app: flask.Flask, api: Api) -> str:
    """Add the WebSocket's route; why a request to it may get none."""
    endpoint = next(e for e in ENDPOINTS if e.name == "ws")
    opened = _opened_by_flask_sock(api)
    name = f"expresso_persist{api.prefix}.{endpoint.name}_socket".replace(".", "_")

    def view(**path_params: str) -> Any:
        request = staying(neutral(path_params))
        environ = flask.request.environ
        if not same_origin(request, api.origins):
            return flask.Response("", 403)
        able = any(key in environ for key in _SERVERS) and may_wait(request)
        if opened is None or not able:
            return give(api.handle(endpoint, request))
        return opened(path_params)

    rule = (api.prefix + endpoint.path).replace("{", "<").replace("}", ">")
    app.add_url_rule(rule, name, view, websocket=True)
    return _MISSING if opened is None else _UNABLE


def _opened_by_flask_sock(api: Api) -> Callable[[dict[str, str]], Any] | None:
    """A view that opens the socket and serves it."""
    try:
        from flask_sock import ConnectionClosed, Sock
    except ModuleNotFoundError:
        return None
    endpoint = next(e for e in ENDPOINTS if e.name == "ws")
    # Who said nothing yet keeps a thread as well.
    strangers = Slots(api.slots.limit)
    views: list[Callable[..., Any]] = []

    class Catch:
        """Gets the view that Flask-Sock makes, to be called after our own questions."""

        def route(self, _path: str, **_options: Any) -> Callable[[Callable[..., Any]], None]:
            return views.append

    def serve(connection: Any, path_params: dict[str, str]) -> None:
        connection.max_message_size = HELLO_BYTES
        connection.sock = _Whole(connection.sock)
        request = staying(neutral(path_params))

        def begin(hello: str | bytes | None) -> Any:
            return greet(api, endpoint, request, hello)

        def receive(seconds: float) -> str | bytes | None:
            message: str | bytes | None = connection.receive(timeout=seconds)
            return message

        if not strangers.take():
            connection.close(SLOW)
            return
        stranger = True

        def known(hello: str | bytes | None) -> Any:
            nonlocal stranger
            stranger = False
            strangers.release()
            return begin(hello)

        number = SLOW
        try:
            with contextlib.suppress(ConnectionClosed, OSError):
                number = run_socket(
                    known, receive=receive, send=connection.send, alive=lambda: connection.connected
                )
        finally:
            if stranger:
                strangers.release()
        with contextlib.suppress(ConnectionClosed, OSError):
            connection.close(number)

    Sock().route(endpoint.path, bp=Catch())(serve)
    return views[0]


@attrs.frozen
class _Whole:
    """A connection whose ``send`` sends everything, or fails when that takes too long.

    A plain ``send`` may stop in the middle of a message, and wait for ever before it.
    """

    _socket: Any

    def __attrs_post_init__(self) -> None:
        limit = struct.pack("@ll", round(PATIENCE), 0)
        with contextlib.suppress(OSError, struct.error):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[self._socket.send(rest) :]
        return len(data)
