"""Notifications: PostgreSQL's LISTEN on a connection of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from expresso_persist.db.database import NOTIFY_CHANNEL, Database
from expresso_persist.errors import DatabaseUnavailable

__all__ = ["Notifications", "open_notifications"]


class Notifications:
    """A connection that listens; its owner waits for its file descriptor."""

    def __init__(self, connection: Any) -> None:
        """Take over a connection that executed LISTEN."""
        self._connection = connection
        self._raw: Any = connection.connection.dbapi_connection  # outside the pool

    def fileno(self) -> int:
        """What becomes readable when something was announced, or the connection broke."""
        number: int = self._raw.pgconn.socket
        return number

    def received(self) -> list[tuple[str, int]] | None:
        """Tenants and their revisions as announced; None when the connection is gone."""
        found = []
        try:
            line = self._raw.pgconn
            line.consume_input()
            while (notice := line.notifies()) is not None:
                # Anybody may NOTIFY on the channel; what cannot be read is left out.
                with contextlib.suppress(msgspec.MsgspecError):
                    found.append(msgspec.json.decode(notice.extra, type=tuple[str, int]))
        except Exception:  # noqa: BLE001 - whatever the driver says, the answer is to poll
            return None
        return found

    def close(self) -> None:
        """Give the connection up."""
        with contextlib.suppress(SQLAlchemyError, self._connection.dialect.loaded_dbapi.Error):
            self._connection.close()


def open_notifications(database: Database) -> Notifications | None:
    """Listen; None where that cannot work.

    Behind a pooler the server's process is not the one that the connection knows.
    In PgBouncer's transaction mode LISTEN would stick to a connection that serves somebody
    else next, so it is not even tried.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    if database.dialect != "postgresql" or database.engine.dialect.driver != "psycopg":
        return None
    connection = database.dedicated()
    raw: Any = connection.connection.dbapi_connection
    line = Notifications(connection)
    try:
        (pid,) = raw.execute("SELECT pg_backend_pid()").fetchone()
        if pid == raw.info.backend_pid:
            raw.execute(f"LISTEN {NOTIFY_CHANNEL}")
            return line
    except connection.dialect.loaded_dbapi.Error as error:
        line.close()
        raise DatabaseUnavailable from error
    line.close()
    return None
