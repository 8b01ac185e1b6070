"""How long the database is waited for: every limit of it, and what ends the waiting.

PostgreSQL ends a statement itself where a transaction says so (``lock_timeout``,
``statement_timeout``). It cannot where nothing but one look-up is sent, and a server that is
stopped, or cut off, ends nothing: there a thread of this process breaks off the connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from expresso_persist.db.driver_errors import DatabaseTimeout, driver_errors
from expresso_persist.errors import DatabaseUnavailable

__all__ = ["LOOK_UP", "Congestion", "begin", "request", "transaction", "watched", "watched_raw"]

LOOK_UP = 3.0
"""Seconds for one row by its key, and for a lock that a read waits for.

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
_TICK = 0.2  # seconds between two looks at what is under way
_LAST_TRY = 1.0  # seconds for the server to end a statement that it was asked to end
_REST = 20.0  # seconds without work after which the thread ends

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
        with driver_errors(connection) as raw:
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

    _COUNT, _WITHIN, _PAUSE = 3, 1.0, 1.0  # so many in so many seconds; seconds of refusing

    def __init__(self) -> None:
        """Start with a database that answers."""
        self._ended: deque[float] = deque(maxlen=self._COUNT)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Note when what happens inside waits in vain.

        Raises:
            DatabaseUnavailable: Several have just done so.
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
        try:
            yield
        except DatabaseTimeout:
            self._ended.append(time.monotonic())
            raise


@contextlib.contextmanager
def watched(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Break off what is done on a connection of psycopg after so many seconds."""
    with watched_raw(connection.connection.driver_connection, seconds) as watch:
        try:
            yield
        except DBAPIError as error:
            if watch is not None and watch.cancelled:
                raise DatabaseTimeout(retry_after=2) from error
            raise
        finally:
            if watch is not None and watch.cancelled and not connection.invalidated:
                connection.invalidate()  # the server may end the next statement instead


@contextlib.contextmanager
def watched_raw(raw: Any, seconds: float | None) -> Iterator[_Watch | None]:
    """The same for the driver's connection, which is of no more use once it was broken off."""
    if seconds is None or not hasattr(raw, "pgconn"):
        yield None
        return
    watch = _Watch(raw.pgconn, time.monotonic() + seconds)
    _watchdog.add(watch)
    try:
        yield watch
    finally:
        _watchdog.remove(watch)


class _Watch:
    """A connection, and when it is broken off."""

    def __init__(self, pgconn: Any, end: float) -> None:
        self.pgconn = pgconn
        self.end = end
        self.cancelled = False

    def overdue(self) -> None:
        """Ask the server to end the statement; the next time, end the connection."""
        from psycopg.pq import TransactionStatus

        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return  # this process works, not the server
        if not self.cancelled:
            self.cancelled = True
            self.end += _LAST_TRY
            cancel = self.pgconn.get_cancel()
            # By a thread of its own: a server that is stopped answers this neither.
            threading.Thread(target=_cancel, args=(cancel,), daemon=True).start()
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as end:
            end.shutdown(socket.SHUT_RDWR)


def _cancel(cancel: Any) -> None:
    with contextlib.suppress(Exception):  # then the connection is ended
        cancel.cancel()


class _Watchdog:
    """The thread that looks at what is under way; there is one while anything is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()
        self._running = False

    def add(self, watch: _Watch) -> None:
        with self._lock:
            self._watches.add(watch)
            begin, self._running = not self._running, True
        if begin:
            threading.Thread(
                target=self._run, name="expresso-persist-timeouts", daemon=True
            ).start()

    def remove(self, watch: _Watch) -> None:
        with self._lock:
            self._watches.discard(watch)

    def _run(self) -> None:
        worked = time.monotonic()
        while True:
            time.sleep(_TICK)
            now = time.monotonic()
            with self._lock:
                if self._watches:
                    worked = now
                elif now - worked > _REST:
                    self._running = False
                    return
                for watch in self._watches:
                    if watch.end <= now:
                        watch.overdue()


_watchdog = _Watchdog()


def _after_fork() -> None:
    global _watchdog  # noqa: PLW0603 - its thread is not here any more, and its lock may be held
    _watchdog = _Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
