"""From a URL to an engine: how each database is opened, and what is done with its connections.

SQLite is opened in WAL mode with ``synchronous=FULL``; PostgreSQL through psycopg 3.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, StaticPool

from expresso_persist.db import timeouts
from expresso_persist.db.sqlite_file import SqliteFile
from expresso_persist.errors import InvalidConfiguration

__all__ = ["BUSY_TIMEOUT", "create_engine", "watch_file"]

BUSY_TIMEOUT = 10.0
"""Seconds that a writer waits for another one before it gives up."""

IDLE_BEFORE_PING = 2.0
"""Seconds without use after which a connection is tried out before it is used again."""


def create_engine(url: str | URL, **options: Any) -> Engine:
    """The engine for a URL.

    Raises:
        InvalidConfiguration: The URL is not one of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidConfiguration(
            "The database URL cannot be read; write sqlite:///file.db or "
            "postgresql://user:password@host/database."
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # Parameters stay out of error messages: they are the users' data.
    options["hide_parameters"] = True
    if parsed.get_backend_name() == "postgresql":
        # PgBouncer in transaction mode cannot keep server-side prepared statements.
        # A server that is cut off must be noticed in seconds, not after TCP's two hours.
        defaults = {
            "prepare_threshold": None,
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        options["connect_args"] = {
            name: value for name, value in defaults.items() if name not in parsed.query
        }
        options["pool_timeout"] = 10
    elif parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY_TIMEOUT, "check_same_thread": False}
        if parsed.database in (None, "", ":memory:"):
            options["poolclass"] = StaticPool
    try:
        engine = sa.create_engine(parsed, **options)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise InvalidConfiguration(
            f"{parsed.drivername} is not supported; use SQLite or PostgreSQL 14 or newer."
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _ping_after_idling)
        if "connect_timeout" not in parsed.query:
            event.listen(engine, "do_connect", _hurry_for_clients)
    return engine


def _hurry_for_clients(
    _dialect: object, _record: object, _arguments: object, options: dict[str, Any]
) -> None:
    if timeouts.transaction() is not None:
        options["connect_timeout"] = math.ceil(timeouts.LOOK_UP)


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ping_after_idling(
    connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Replace a connection that died while it was idle.

    Unlike ``pool_pre_ping`` this asks only after a pause, because the question costs as
    much as a look-up. A connection that dies in between fails one request.
    """
    used = record.info.get("used")
    if used is None or time.monotonic() - used < IDLE_BEFORE_PING:
        return
    try:
        with timeouts.watched_raw(connection, timeouts.LOOK_UP):
            connection.execute("SELECT 1")
            connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing; we do, see Database
    cursor = connection.cursor()
    try:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):  # such a file can be read as it is
                raise
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def watch_file(engine: Engine, file: SqliteFile) -> None:
    """Use no connection to a file that is gone, and do not create another one in its place."""

    def connecting(
        _dialect: object, _record: object, arguments: Sequence[str], _options: object
    ) -> None:
        file.connecting(arguments[0])

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        file.opened(connection)

    def checked_out(_connection: object, _record: object, _proxy: object) -> None:
        file.check()

    event.listen(engine, "do_connect", connecting)
    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", checked_out)
