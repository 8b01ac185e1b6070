"""The WebSocket of the feed, by Flask-Sock where it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import struct
from collections.abc import Callable
from typing import Any

import attrs
import flask

from expresso_persist.http.adapter import (
    HELLO_BYTES,
    PATIENCE,
    TOO_SLOW,
    Api,
    Slots,
    Subscription,
    endpoint_named,
    may_wait,
    run_socket,
    same_origin,
)
from expresso_persist_flask._requests import long_lived, to_request, to_response

__all__ = ["add_socket", "no_socket"]

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


def no_socket() -> str:
    """Why a request to the WebSocket's address gets none."""
    return _MISSING if importlib.util.find_spec("flask_sock") is None else _UNABLE


def add_socket(app: flask.Flask, api: Api) -> None:
    """Add the WebSocket's route."""
    endpoint = endpoint_named("ws")
    opened = _opened_by_flask_sock(api)
    name = f"expresso_persist{api.prefix}.{endpoint.name}_socket".replace(".", "_")

    def view(**path_params: str) -> Any:
        request = long_lived(to_request(path_params))
        environ = flask.request.environ
        if not same_origin(request, api.settings.origins):
            return flask.Response("", 403)
        able = any(key in environ for key in _SERVERS) and may_wait(request)
        if opened is None or not able:
            return to_response(api.handle(endpoint, request))
        return opened(path_params)

    rule = (api.prefix + endpoint.path).replace("{", "<").replace("}", ">")
    app.add_url_rule(rule, name, view, websocket=True)


def _opened_by_flask_sock(api: Api) -> Callable[[dict[str, str]], Any] | None:
    """A view that opens the socket and serves it."""
    try:
        from flask_sock import ConnectionClosed, Sock
    except ModuleNotFoundError:
        return None
    # A socket without its first message keeps a thread as well.
    ungreeted = Slots(api.slots.limit)
    views: list[Callable[..., Any]] = []

    class Catch:
        """Takes the view that Flask-Sock makes, to be called after our own checks."""

        def route(self, _path: str, **_options: Any) -> Callable[[Callable[..., Any]], None]:
            return views.append

    def serve(connection: Any, path_params: dict[str, str]) -> None:
        connection.max_message_size = HELLO_BYTES
        connection.sock = _Whole(connection.sock)
        request = long_lived(to_request(path_params))

        def receive(seconds: float) -> str | bytes | None:
            message: str | bytes | None = connection.receive(timeout=seconds)
            return message

        if not ungreeted.take():
            connection.close(TOO_SLOW)
            return
        release = contextlib.ExitStack()
        release.callback(ungreeted.release)

        def greet(hello: str | bytes | None) -> Subscription:
            release.close()
            return api.greet(request, hello)

        number = TOO_SLOW
        with release, contextlib.suppress(ConnectionClosed, OSError):
            number = run_socket(
                greet, receive=receive, send=connection.send, alive=lambda: connection.connected
            )
        with contextlib.suppress(ConnectionClosed, OSError):
            connection.close(number)

    Sock().route(endpoint_named("ws").path, bp=Catch())(serve)
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
