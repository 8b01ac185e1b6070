"""Connections that stay: who may have one, what it sends next, and when it ends.

Nothing here waits in a way of its own kind: `streams` does it with threads, `asynchronous`
in an event loop, and both ask the same questions here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

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
from expresso_persist.feed import Encoded, Hub
from expresso_persist.feed.channel import Channel
from expresso_persist.http.call import Call
from expresso_persist.http.messages import Request

if TYPE_CHECKING:
    from expresso_persist.http.api import Api
    from expresso_persist.http.endpoints import Endpoint

__all__ = [
    "FIRST",
    "Format",
    "Later",
    "Listening",
    "LiveSettings",
    "Slots",
    "brief_events",
    "sse_mark",
]

FIRST = b"retry: 2000\n\n"
"""How a stream begins: the browser comes back two seconds after its end."""

HEARTBEAT = 15.0
RETRY = 1.0
"""Seconds until a database that did not answer is asked again."""

PATIENCE = 30.0
"""Seconds that a client may take to accept what it was sent."""


@attrs.frozen
class LiveSettings:
    """What a host decides about connections that stay.

    Attributes:
        connections: How many of them at a time: streams, sockets and waiting requests
            together. None is what the adapter's servers can afford by default.
        heartbeat: Seconds between two signs of life. At each, whoever asked is asked for
            again, so a token that was revoked ends its connections within this time.
        per_actor: How many of them one actor may have at a time, so that nobody takes all.
            Stations that share a token are one actor.
    """

    connections: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    heartbeat: float = attrs.field(default=HEARTBEAT, validator=attrs.validators.gt(0))
    per_actor: int = attrs.field(default=100, validator=attrs.validators.ge(0))


class Slots:
    """Counts what is open."""

    def __init__(self, limit: int, per_actor: int | None = None) -> None:
        """Let ``limit`` be open at a time, and of one actor no more than ``per_actor``."""
        self.limit = limit
        self.taken: int = 0
        self._per_actor = limit if per_actor is None else per_actor
        self._by_actor: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, actor: str = "") -> bool:
        """Take one, if there is one."""
        with self._lock:
            free = self.taken < self.limit and self._by_actor[actor] < self._per_actor
            if free:
                self.taken += 1
                self._by_actor[actor] += 1
            return free

    def release(self, actor: str = "") -> None:
        """Give it back."""
        with self._lock:
            self.taken -= 1
            self._by_actor[actor] -= 1
            if not self._by_actor[actor]:
                del self._by_actor[actor]


@attrs.frozen
class Format:
    """How a kind of connection writes what it sends."""

    commit: Callable[[Encoded], bytes]
    reset: Callable[[str], bytes]
    heartbeat: bytes
    end: Callable[[str], bytes]


@attrs.define(eq=False)
class Later:
    """An empty answer that may become a better one by waiting.

    Attributes:
        channel: Where to wait.
        seen: The generation before the empty answer was made.
        until: When to be content with it, by the monotonic clock.
        cursor: After what; "now" is another one by then.
    """

    channel: Channel
    seen: int
    until: float
    cursor: str
    _leave: Callable[[], None]

    def rest(self) -> float:
        """Seconds left."""
        return self.until - time.monotonic()

    def wait(self) -> None:
        """Wait, keeping a thread."""
        self.channel.wait(self.seen, max(0.0, self.rest()), lambda: False)

    def close(self) -> None:
        """Give the place back."""
        self._leave()


def waiting(call: Call, cursor: str, seconds: float) -> Later | None:
    """A place to wait; None if this server cannot afford one now."""
    slots, who = call.api.slots, call.who
    if not (call.may_wait and slots.take(who)):
        return None
    hub, token = call.store.feed.hub, object()
    channel = hub.enter(call.store.tenant, token)

    def leave() -> None:
        hub.leave(channel, token)
        slots.release(who)

    return Later(channel, channel.generation, time.monotonic() + seconds, cursor, leave)


class Listening:
    """One connection's place in the feed.

    It holds a cursor and at most a page of commits, however slowly the other side reads.
    """

    def __init__(self, call: Call, cursor: str, form: Format) -> None:
        """Take a place for ``call``.

        Raises:
            InvalidInput: The cursor cannot be read.
            TooManyStreams: This server cannot afford another one.
        """
        self._call = call
        self._form = form
        start = call.store.feed.start(cursor)
        if not (call.may_wait and call.api.slots.take(call.who)):
            raise TooManyStreams(retry_after=5)
        self.cursor: str = start
        self.hub: Hub = call.store.feed.hub
        self.channel: Channel = self.hub.enter(call.store.tenant, self)
        self._seen = self.channel.generation - 1
        self._again: float | None = None
        self._closing = threading.Lock()
        self.closed: bool = False
        self.heartbeat_at: float = time.monotonic() + call.api.live.heartbeat

    @property
    def tenant(self) -> str:
        """Whose commits."""
        return self._call.store.tenant

    def at_hand(self) -> bytes | None:
        """What to send next without asking the database; None if it has to be asked."""
        self._seen = self.channel.generation
        recent = self.channel.recent
        if recent is None:
            return None
        found = recent.joined(self.cursor, self._form.commit)
        if found:
            self.cursor = recent.cursor
        return found

    def fetch(self) -> bytes:
        """What to send next; nothing when the database does not answer."""
        found = self.at_hand()
        if found is not None:
            return found
        try:
            page = self._call.store.feed.page(self.cursor)
        except DatabaseUnavailable:
            self._again = time.monotonic() + RETRY
            return b""
        self._again, self.cursor = None, page.cursor
        if page.reset:
            return self._form.reset(page.cursor)
        return b"".join(map(self._form.commit, page.entries))

    def news(self) -> bool:
        """Whether it is worth looking again."""
        return (
            self.channel.generation != self._seen
            or self.closed
            or self.hub.closed
            or (self._again is not None and time.monotonic() >= self._again)
        )

    def rest(self) -> float:
        """Seconds to wait at most: to the heartbeat, or until the database is asked again."""
        due = self.heartbeat_at if self._again is None else min(self.heartbeat_at, self._again)
        return max(0.0, due - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Wait for news, keeping a thread."""
        self.channel.wait(self._seen, seconds, lambda: self.closed or self.hub.closed)

    def heartbeat_due(self) -> bool:
        """Whether it is time for a sign of life, and to ask who that is."""
        return time.monotonic() >= self.heartbeat_at

    def heartbeat(self) -> bytes | None:
        """The sign of life; None when who listens may do so no more."""
        self.heartbeat_at = time.monotonic() + self._call.api.live.heartbeat
        return self._form.heartbeat if self._call.api.still_allowed(self._call) else None

    def end(self, code: str) -> bytes:
        """The last thing to send."""
        return self._form.end(code)

    def close(self) -> None:
        """Give the place back; the second time does nothing."""
        with self._closing:
            if self.closed:
                return
            self.closed = True
        self.hub.leave(self.channel, self)
        self._call.api.slots.release(self._call.who)


def brief_events(call: Call, since: str) -> bytes:
    """A page of commits after a cursor as server-sent events, complete.

    For a server that cannot keep the connection: a browser's ``EventSource`` comes back with
    the last ``id``, so that it polls. One page at a time, for nothing else runs meanwhile.

    Raises:
        InvalidInput: The cursor cannot be read.
        DatabaseUnavailable: The database does not answer.
    """
    feed = call.store.feed
    page = feed.page(feed.start(since))
    pieces = [b"retry: 100\n\n" if page.has_more else FIRST]
    if page.reset:
        pieces.append(SSE.reset(page.cursor))
    pieces += map(SSE.commit, page.entries)
    if page.reset or since == "now":
        pieces.append(sse_mark(page.cursor))
    return b"".join(pieces)


def sse_mark(cursor: str) -> bytes:
    """A block without an event: what the client comes back with."""
    return b"id: %s\n\n" % cursor.encode()


def _sse_commit(entry: Encoded) -> bytes:
    return b"event: commit\nid: %s\ndata: %s\n\n" % (entry.cursor.encode(), entry.json)


def _sse_reset(cursor: str) -> bytes:
    return b"event: reset\ndata: %s\n\n" % msgspec.json.encode({"cursor": cursor})


def _sse_end(code: str) -> bytes:
    return b"event: end\ndata: %s\n\n" % msgspec.json.encode({"code": code})


SSE: Format = Format(_sse_commit, _sse_reset, b": alive\n\n", _sse_end)


def _line(**content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def _ws_commit(entry: Encoded) -> bytes:
    return _line(type="commit", cursor=entry.cursor, commit=msgspec.Raw(entry.json))


# Messages end with a line break, which JSON as msgspec writes it never holds, so that several
# can be kept as one piece of bytes and be sent one by one.
SOCKET: Format = Format(
    _ws_commit,
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


UNAUTHORIZED = ("unauthorized", 4401)
TOO_MANY = ("too_many_streams", 4429)
TOO_OFTEN = ("too_many_requests", 4429)
NOT_UNDERSTOOD = ("invalid_input", 1008)
UNAVAILABLE = ("database_unavailable", 1013)
SLOW = 1013
HELLO_WITHIN = 10.0
HELLO_BYTES = 4096


class _Hello(msgspec.Struct, tag_field="type", tag="hello"):
    token: str | None = None
    since: str | None = None


def greet(api: Api, endpoint: Endpoint, request: Request, hello: str | bytes | None) -> Listening:
    """Begin a socket by its first message.

    Raises:
        Refusal: It does not begin.
    """
    if not isinstance(hello, (str, bytes)) or len(hello) > HELLO_BYTES:
        raise Refusal(*NOT_UNDERSTOOD)
    try:
        said = msgspec.json.decode(hello, type=_Hello)
    except (msgspec.MsgspecError, UnicodeError):
        raise Refusal(*NOT_UNDERSTOOD) from None
    try:
        call = _recognised(api, endpoint, request, said.token)
        return Listening(call, said.since or "0", SOCKET)
    except TooManyStreams:
        raise Refusal(*TOO_MANY) from None
    except TooManyRequests:
        raise Refusal(*TOO_OFTEN) from None
    except DatabaseUnavailable:
        raise Refusal(*UNAVAILABLE) from None
    except ExpressoPersistError as error:
        known = error.status not in (401, 403)
        raise Refusal(*(NOT_UNDERSTOOD if known else UNAUTHORIZED)) from None


def _recognised(api: Api, endpoint: Endpoint, request: Request, token: str | None) -> Call:
    try:
        return api.let_in(endpoint, request)
    except (Unauthorized, Forbidden, NotFound):
        if token is None:
            raise
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers["authorization"] = f"Bearer {token}"
        return api.let_in(endpoint, attrs.evolve(request, headers=headers))
