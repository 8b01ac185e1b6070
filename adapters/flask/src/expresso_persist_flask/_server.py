"""waitress for `expresso-persist serve`: no slow clients, and no bodies without credentials.

waitress reads whole requests, on the disk if they are large, before it calls the application, and
ends only connections on which nothing at all happens. Here the application is asked about a body
as soon as the headers are there, in one of its threads, and a request that comes too slowly ends.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import attrs
import flask
import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

from expresso_persist.http.adapter import HEADERS, STALLED, MinimumBodyRate

__all__ = ["create_server"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")

IDLE = 20
"""Seconds that a connection may stay open without a request."""


def create_server(
    app: flask.Flask, listener: socket.socket, *, threads: int, connections: int
) -> Any:
    """A waitress that listens on ``listener``.

    Args:
        app: The application.
        listener: Where it listens.
        threads: How many requests are answered at a time.
        connections: How many connections may be open at a time.
    """
    server = waitress.create_server(
        app,
        sockets=[listener],
        threads=threads,
        ident=None,
        connection_limit=connections,
        channel_timeout=IDLE,
        cleanup_interval=1,
        max_request_header_size=64 * 1024,
        asyncore_use_poll=True,  # select() knows no file descriptor above 1023
    )
    server.channel_class = type("Channel", (_Channel,), {"app": app})
    end_idle = server.maintenance

    def maintenance(now: float) -> None:
        """Each second. waitress waits for ever for a client that does not read its answer."""
        end_idle(now)
        for channel in [*server.active_channels.values()]:
            if channel.is_stuck(now):
                channel.handle_close()

    server.maintenance = maintenance
    return server


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request that comes in."""

    asked = False
    wants_continue = False

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        # No 100 Continue before it is decided.
        self.wants_continue, self.expect_continue = self.expect_continue, False


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class = _Parser
    app: flask.Flask
    _activity = 0.0
    _taken = 0.0
    _deciding = False
    _rate: MinimumBodyRate | None = None
    _size = 0

    @property
    def last_activity(self) -> float:
        """When something happened; a request that comes too slowly counts as nothing."""
        return 0.0 if self._overdue() else self._activity

    @last_activity.setter
    def last_activity(self, moment: float) -> None:
        self._activity = moment

    def _overdue(self) -> bool:
        request, rate = self.request, self._rate
        if request is None or rate is None or self._deciding:
            return False
        if not request.headers_finished:
            return rate.age() > HEADERS
        return rate.time_left(self._size) == 0

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close)
        if sent:
            self._taken = time.time()
        return sent

    def is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of its answer for :data:`STALLED` seconds."""
        if not self.total_outbufs_len:
            self._taken = now
        return now - self._taken > STALLED

    def readable(self) -> bool:
        return not self._deciding and bool(super().readable())

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self._rate, self._size = MinimumBodyRate(), 0
        self._size += len(data)
        taken: bool = super().received(data)
        request = self.request
        if request is not None and request.headers_finished and not request.asked:
            request.asked = self._deciding = True
            self.server.task_dispatcher.add_task(_Decision(self, request))
        return taken

    def decided(self, request: _Parser, *, wanted: bool) -> None:
        """Go on reading a request's body, or answer it as it is and close."""
        with self.requests_lock:
            if wanted:
                if request.wants_continue:
                    self.send_continue()
            else:
                request.close()  # the part of the body that came
                request.body_rcv, request.completed = None, True
                request.headers["CONNECTION"] = "close"
                self.request = None
                self.requests.append(request)
                self.server.add_task(self)
            self._activity, self._deciding = time.time(), False
        self.server.pull_trigger()


@attrs.frozen(eq=False)
class _Decision:
    """Asks the application whether it will read the body; one of waitress's tasks."""

    channel: _Channel
    request: _Parser

    def service(self) -> None:
        wanted = False
        try:
            environ = WSGITask(self.channel, self.request).get_environment()
            with self.channel.app.request_context(environ):
                view: Any = self.channel.app.view_functions.get(flask.request.endpoint or "")
                would_read = getattr(view, "would_read", None)
                wanted = would_read is not None and would_read()
        except Exception as error:  # noqa: BLE001 - the application then answers, without a body
            logger.error("a request was not decided: %s", type(error).__name__)  # noqa: TRY400
        self.channel.decided(self.request, wanted=wanted)

    def cancel(self) -> None:
        """The server stops."""

    def defer(self) -> None:
        """No thread is free yet."""
