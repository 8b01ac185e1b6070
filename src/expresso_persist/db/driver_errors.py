"""What the drivers raise, in the library's words: no SQL, no parameters."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from expresso_persist.errors import (
    DatabaseAccessDenied,
    DatabaseReadOnly,
    DatabaseUnavailable,
    ExpressoPersistError,
    SchemaMismatch,
    StorageFull,
)

__all__ = ["DatabaseTimeout", "TransactionRetry", "driver_errors", "translated"]


_LOCKED = "The database is locked by another process; try again shortly."
_TIMEOUTS = {"55P03": _LOCKED, "57014": None}
"""PostgreSQL's states of a statement that took too long; None: the class has the sentence."""


class TransactionRetry(DatabaseUnavailable):
    """The database broke off this transaction in favour of another one; repeat it."""


class DatabaseTimeout(DatabaseUnavailable):
    """The database does not answer in time; try again shortly."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what drivers raise into the library's errors, without SQL or parameters."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error) from error
    except PoolTimeout as error:
        raise DatabaseUnavailable(
            "All database connections are in use; try again shortly.", retry_after=1
        ) from error


def _classes(original: BaseException | None) -> set[str]:
    """The names of an error's classes, which every driver takes from the DB-API."""
    return {each.__name__ for each in type(original).__mro__}


def _errorname(original: BaseException | None) -> str:
    return getattr(original, "sqlite_errorname", "")


def _translate(error: DBAPIError) -> ExpressoPersistError:
    original = error.orig
    state = getattr(original, "sqlstate", None) or ""
    text = str(original).lower()
    # SQLite refuses so what read before another one wrote; every transaction of ours that
    # writes begins as a writer, but a host's engine may have begun it.
    if state in ("40001", "40P01") or _errorname(original) == "SQLITE_BUSY_SNAPSHOT":
        return TransactionRetry(retry_after=1)
    if state == "53100" or "disk is full" in text:
        return StorageFull()
    if state == "25006" or "readonly database" in text:
        return DatabaseReadOnly()
    # A process that does not know yet of row level security gets the same number.
    if state == "42501" and "row-level security" not in text:
        return DatabaseAccessDenied()
    if state == "42P01" or "no such table" in text:
        return SchemaMismatch(
            "A table of expresso-persist is missing: it was dropped by something else, or never "
            "made. `expresso-persist doctor` says what is gone and how to go on."
        )
    if state == "42703" or "no such column" in text:
        return SchemaMismatch()
    if state in _TIMEOUTS or "database is locked" in text:
        kind = DatabaseTimeout if state else DatabaseUnavailable
        return kind(_TIMEOUTS.get(state, _LOCKED), retry_after=1)
    if "not a database" in text or "malformed" in text:
        return ExpressoPersistError("The database file is damaged; restore it from a backup.")
    if "unable to open" in text:
        return DatabaseUnavailable(
            "The database file cannot be opened; check that its folder exists and can be "
            "written to.",
        )
    if state == "42P07" or "already exists" in text:
        return SchemaMismatch(
            "There are tables of other columns under names that expresso-persist needs. "
            "`expresso-persist init` adopts those of the replaced system, and names the others."
        )
    if _is_lost(error, state):
        timed_out = "ConnectionTimeout" in _classes(original)
        return (DatabaseTimeout if timed_out else DatabaseUnavailable)(retry_after=2)
    return ExpressoPersistError("The database refused the operation.")


def _is_lost(error: DBAPIError, state: str) -> bool:
    """Whether the connection is gone, or the server refuses everybody."""
    return error.connection_invalidated or (
        not isinstance(error.orig, sqlite3.Error)
        and not _classes(error.orig).isdisjoint({"OperationalError", "InterfaceError"})
        and (not state or state[:2] in ("08", "57", "53", "3D", "28"))
    )


@contextlib.contextmanager
def driver_errors(connection: Connection) -> Iterator[Any]:
    """The driver's own connection; its errors are raised as SQLAlchemy would raise them."""
    dialect, raw = connection.dialect, connection.connection.driver_connection
    try:
        yield raw
    except dialect.loaded_dbapi.Error as error:
        lost = dialect.is_disconnect(error, cast("Any", raw), None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "a statement of the driver",
            None,
            error,
            dialect.loaded_dbapi.Error,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
