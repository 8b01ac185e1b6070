"""WebSockets of the feed: their messages, how one begins, and how a thread serves it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeAlias

import attrs
import msgspec

from expresso_persist.errors import (
    DatabaseUnavailable,
    ExpressoPersistError,
    Forbidden,
    NotFound,
    TooManyRequests,
    TooManyStreams,
    Unauthorized,
)
from expresso_persist.feed import Encoded
from expresso_persist.http.call import Call
from expresso_persist.http.live.subscription import Format, Subscription, deliver
from expresso_persist.http.messages import Request

__all__ = [
    "GOING_AWAY",
    "HELLO_BYTES",
    "HELLO_WITHIN",
    "REVOKED",
    "TOO_SLOW",
    "Greet",
    "Refusal",
    "begin",
    "messages",
    "run_socket",
]

HELLO_WITHIN = 10.0
"""Seconds in which the first message comes."""
HELLO_BYTES = 4096
GOING_AWAY = 1001
TOO_SLOW = 1013
REVOKED = 4401
_UNAUTHORIZED = ("unauthorized", REVOKED)
_TOO_MANY = ("too_many_streams", 4429)
_TOO_OFTEN = ("too_many_requests", 4429)
_NOT_UNDERSTOOD = ("invalid_input", 1008)
_UNAVAILABLE = ("database_unavailable", 1013)


def _line(**content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def _commit(entry: Encoded) -> bytes:
    return _line(type="commit", cursor=entry.cursor, commit=msgspec.Raw(entry.json))


# Messages end with a line break, which JSON as msgspec writes it never holds, so that several
# can be kept as one piece of bytes and be sent one by one.
SOCKET: Format = Format(
    _commit,
    lambda cursor: _line(type="reset", cursor=cursor),
    _line(type="ping"),
    lambda code: _line(type="end", code=code),
)


class Refusal(Exception):
    """Why a socket is closed: the message's code and the protocol's number."""

    def __init__(self, code: str, number: int) -> None:
        """Say ``code`` and close with ``number``."""
        super().__init__(code)
        self.code = code
        self.number = number

    @property
    def message(self) -> str:
        """What is sent before it is closed."""
        return SOCKET.end(self.code).decode().rstrip()


class _Hello(msgspec.Struct, tag_field="type", tag="hello"):
    token: str | None = None
    since: str | None = None


Greet: TypeAlias = Callable[[str | bytes | None], Subscription]
"""Subscribes a socket by its first message, or raises :class:`Refusal`."""


def begin(
    admit: Callable[[Request], Call], request: Request, hello: str | bytes | None
) -> Subscription:
    """Subscribe a socket by its first message.

    Args:
        admit: Admits the request; it counts.
        request: The handshake.
        hello: The first message; None if there was none in time.

    Raises:
        Refusal: The socket is to be closed.
    """
    if not isinstance(hello, (str, bytes)) or len(hello) > HELLO_BYTES:
        raise Refusal(*_NOT_UNDERSTOOD)
    try:
        content = msgspec.json.decode(hello, type=_Hello)
    except (msgspec.MsgspecError, UnicodeError):
        raise Refusal(*_NOT_UNDERSTOOD) from None
    try:
        call = _admitted(admit, request, content.token)
        return Subscription(call, content.since or "0", SOCKET)
    except TooManyStreams:
        raise Refusal(*_TOO_MANY) from None
    except TooManyRequests:
        raise Refusal(*_TOO_OFTEN) from None
    except DatabaseUnavailable:
        raise Refusal(*_UNAVAILABLE) from None
    except ExpressoPersistError as error:
        known = error.status not in (401, 403)
        raise Refusal(*(_NOT_UNDERSTOOD if known else _UNAUTHORIZED)) from None


def _admitted(admit: Callable[[Request], Call], request: Request, token: str | None) -> Call:
    """The call of the handshake's own credentials, or else of the token in the message."""
    try:
        return admit(request)
    except (Unauthorized, Forbidden, NotFound):
        if token is None:
            raise
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers["authorization"] = f"Bearer {token}"
        return admit(attrs.evolve(request, headers=headers))


def messages(piece: bytes) -> list[str]:
    """The messages of a piece."""
    # Not splitlines(): it splits at characters that JSON may hold.
    return piece.decode().rstrip("\n").split("\n")


def run_socket(
    greet: Greet,
    *,
    receive: Callable[[float], str | bytes | None],
    send: Callable[[str], None],
    alive: Callable[[], bool],
) -> int:
    """Serve an accepted WebSocket in a thread; the number to close it with.

    Args:
        greet: Subscribes it by the first message.
        receive: The next message, or None after so many seconds without one.
        send: Sends one.
        alive: Whether the client is still there.
    """
    try:
        subscription = greet(receive(HELLO_WITHIN))
    except Refusal as refusal:
        send(refusal.message)
        return refusal.number

    def wait(seconds: float) -> None:
        # Nothing reports that the client is gone; looking now and then frees the thread soon.
        until = time.monotonic() + seconds
        while alive() and not subscription.has_news() and (rest := until - time.monotonic()) > 0:
            subscription.wait(min(rest, 1.0))

    with contextlib.closing(subscription):
        for piece in deliver(subscription, wait):
            for message in messages(piece):
                send(message)
            if not alive():
                break
        return REVOKED if subscription.revoked else GOING_AWAY
