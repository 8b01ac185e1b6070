"""How long the database is waited for: every limit of it, and what ends the waiting.

PostgreSQL ends a statement itself where a transaction says so (``lock_timeout``,
``statement_timeout``). It cannot where nothing but one look-up is sent, and a server that is
stopped, or cut off, ends nothing. TCP notices neither: the kernel acknowledges what a stopped
process never reads. So the thread that waits for the answer looks at the clock itself.
"""

from __future__ import annotations

import contextlib
import math
import select
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Connection

from expresso_persist.db.driver_errors import DatabaseTimeout, driver_errors
from expresso_persist.errors import DatabaseUnavailable

__all__ = ["LOOK_UP", "Congestion", "begin", "request", "transaction", "watched", "watched_raw"]

LOOK_UP = 3.0
"""Seconds for connecting, for the begin of a transaction, a row by its key, a lock of a read.

No write holds a lock that a read needs: only who changes a table does.
"""
LEAST = 0.5
"""Seconds for a row that was waited for before it could be asked for."""
STATEMENT = 20.0
"""Seconds for each statement of a request, unless it may take its time."""
TRANSACTION = 30.0
"""Seconds after which a request's transaction is broken off, if the server still owes an answer.

Imports, restores, archives, migrations and what runs without a request have no such limits.
"""
_ACTIVE = 1  # psycopg.pq.TransactionStatus.ACTIVE: the server owes an answer
_LAST_TRY = 1.0  # seconds for the server to end a statement that it was asked to end

_request: ContextVar[bool] = ContextVar("expresso_persist_request", default=False)


@contextlib.contextmanager
def request(*, takes_time: bool = False) -> Iterator[None]:
    """What happens inside is for a client that waits, and has limits unless it takes time."""
    token = _request.set(not takes_time)
    try:
        yield
    finally:
        _request.reset(token)


def transaction() -> float | None:
    """Seconds that a transaction may take; None where it may take its time."""
    return TRANSACTION if _request.get() else None


def begin(connection: Connection, level: str, lock: float, *, read_only: bool = False) -> None:
    """Begin a transaction of PostgreSQL with its limits, which end with it (PgBouncer).

    Args:
        connection: Without a transaction.
        level: Its isolation level.
        lock: Seconds that it waits for a lock.
        read_only: Whether it may not write.
    """
    limits = [f"SET LOCAL lock_timeout = {round(lock * 1000)}"]
    if _request.get():
        limits.append(f"SET LOCAL statement_timeout = {round(STATEMENT * 1000)}")
    # The options hold on this connection, for this use only.
    if connection.dialect.driver == "psycopg":
        # All in one message; the driver would send BEGIN alone, and wait for the answer.
        connection.execution_options(isolation_level="AUTOCOMMIT").begin()
        mode = f"{level}, READ ONLY" if read_only else level
        with watched(connection, LOOK_UP), driver_errors(connection) as raw:
            raw.execute("; ".join([f"BEGIN ISOLATION LEVEL {mode}", *limits]), prepare=False)
        return
    connection.execution_options(isolation_level=level, postgresql_readonly=read_only)
    for limit in limits:
        connection.exec_driver_sql(limit)


class Congestion:
    """Refuses requests at once while the database keeps those before them waiting.

    Each would hold a thread of the server for as long as the ones before it, until none is left
    for what needs no database.
    """

    # So many in so many seconds, also where a server does one request after the other; then
    # seconds of refusing.
    _COUNT, _WITHIN, _PAUSE = 3, 15.0, 1.0

    def __init__(self) -> None:
        """Start with a database that answers."""
        self._ended: deque[float] = deque(maxlen=self._COUNT)

    def check(self) -> None:
        """Let a request go on.

        Raises:
            DatabaseUnavailable: Several have just waited in vain.
        """
        ended = tuple(self._ended)
        if (
            len(ended) == self._COUNT
            and _request.get()
            and ended[-1] - ended[0] < self._WITHIN
            and time.monotonic() - ended[-1] < self._PAUSE
        ):
            raise DatabaseUnavailable(
                "The database keeps requests waiting; try again shortly.", retry_after=2
            )

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Check, and note when what happens inside waits in vain."""
        self.check()
        try:
            yield
        except DatabaseTimeout:
            self._ended.append(time.monotonic())
            raise


def watched(
    connection: Connection, seconds: float | None
) -> contextlib.AbstractContextManager[object]:
    """Break off what the server has not answered on a connection after so many seconds."""
    return watched_raw(connection.connection.driver_connection, seconds, connection)


def watched_raw(
    raw: Any, seconds: float | None, connection: Connection | None = None
) -> contextlib.AbstractContextManager[object]:
    """Like :func:`watched`, for the driver's connection, which cannot be used after a timeout."""
    if seconds is None or not hasattr(raw, "pgconn"):
        return contextlib.nullcontext()
    return _Watch(raw, time.monotonic() + seconds, connection)


class _Watch:
    """Takes the place of a connection's method that waits for the server."""

    def __init__(self, raw: Any, end: float, connection: Connection | None) -> None:
        self._raw = raw
        self._end = end
        self._connection = connection
        self._cancelled = False

    def __enter__(self) -> None:
        self._before = vars(self._raw).get("wait")
        self._raw.wait = self.wait

    def __exit__(self, *_: object) -> None:
        del self._raw.wait
        if self._before is not None:
            self._raw.wait = self._before
        connection = self._connection
        if self._cancelled and connection is not None and not connection.invalidated:
            connection.invalidate()  # the server may end the next statement instead

    def wait(self, steps: Generator[int, int, Any], *_: Any, **__: Any) -> Any:
        """Do what psycopg does; its own loop, in C, lets nothing look at the clock before 3.3."""
        fileno = self._raw.pgconn.socket
        try:
            wanted = next(steps)
            while True:
                if ready := _ready(fileno, wanted, max(0.0, self._end - time.monotonic())):
                    wanted = steps.send(ready)
                else:
                    self._overdue()
        except StopIteration as end:
            return end.value
        except BaseException:
            if self._raw.pgconn.transaction_status == _ACTIVE:
                self._raw.close()  # interrupted: it can be used for nothing else
            raise

    def _overdue(self) -> None:
        """Ask the server to end the statement; the next time, end the connection.

        To ask is not superfluous: a backend that waits for a lock does not notice that its
        client is gone, and keeps one of the server's connections.
        """
        from psycopg.errors import QueryCanceled

        if self._cancelled:
            self._raw.close()
            raise QueryCanceled("the server does not answer")
        self._cancelled = True
        self._end = time.monotonic() + _LAST_TRY
        # With a libpq before 17 it may never return.
        threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        with contextlib.suppress(Exception):  # then the connection is ended
            if hasattr(self._raw, "cancel_safe"):
                self._raw.cancel_safe(timeout=_LAST_TRY)
            else:
                self._raw.cancel()


def _ready(fileno: int, wanted: int, seconds: float) -> int:
    """What is possible of what psycopg wants: 1 to read, 2 to write, 3 both; 0 after a while."""
    if not hasattr(select, "poll"):  # Windows, and eventlet, whose hub goes on meanwhile
        reads, writes = [fileno] * (wanted & 1), [fileno] * (wanted >> 1)
        reads, writes, _ = select.select(reads, writes, [], seconds)
        return len(reads) | len(writes) << 1
    poll = select.poll()
    poll.register(fileno, select.POLLIN * (wanted & 1) | select.POLLOUT * (wanted >> 1))
    events = sum(event for _, event in poll.poll(math.ceil(seconds * 1000)))
    readable, writable = bool(events & ~select.POLLOUT), bool(events & ~select.POLLIN)
    return wanted & (readable | writable << 1)
