"""The file behind a SQLite database: is it still the one that was opened?

SQLite goes on writing to a file that was deleted or replaced under it and says nothing: what
it confirms is gone with its last connection. And when the file is moved away and back, a new
connection may find another journal than those that are open, which loses both.

So a process that has once missed its file refuses everything until it is started again, and
touches nothing: with the file back in its place, and the journal beside it, the next start
finds every commit. See :mod:`expresso_persist.db.sqlite_journal` for what that start does.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from urllib.parse import unquote, urlsplit

from expresso_persist.db.sqlite_journal import Journal, status
from expresso_persist.errors import DatabaseUnavailable

__all__ = ["SqliteFile"]

_GONE = (
    "The database file was moved, deleted or replaced while the server used it, so this process "
    "reads and writes nothing any more. Nothing that was confirmed is lost: stop the server, put "
    "the database file back in its place (with its -wal file, if that was moved as well), and "
    "start the server again. If another file is to stay in its place, just start it again."
)


class SqliteFile:
    """Notices that a database file was deleted, moved or replaced.

    A file that is overwritten in place stays the same one by every sign that can be
    looked at in passing; that has to be done while no server runs.
    """

    def __init__(self) -> None:
        """Nothing is known before the first connection."""
        self._path = ""
        self._opened: tuple[int, int] | None = None
        self._journal: Journal | None = None
        self._lost = False

    def connecting(self, name: str) -> None:
        """Get ready for a connection to what the driver calls ``name``.

        Raises:
            DatabaseUnavailable: The file or its journal is not the one it has to be.
        """
        if self._opened is not None:
            self.check()
        elif not self._path:
            self._path = _path(name)
            if self._path:
                self._journal = Journal(os.path.realpath(self._path))
        if self._journal is None:
            return
        self._journal.hold()
        if self._opened is None:
            # SQLite gives its other files the rights of this one.
            with contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def opened(self, connection: sqlite3.Connection) -> None:
        """Remember the file of the first connection; a database in memory has none."""
        if self._journal is None:
            return
        connection.execute("PRAGMA schema_version").fetchone()  # from here on it has a journal
        found = status(self._path)
        if found is None:
            return
        if self._opened is None:
            self._opened = found.st_dev, found.st_ino
        if self._opened == (found.st_dev, found.st_ino):
            self._journal.note(found)

    def check(self) -> None:
        """Make sure that it is still there, and was at every earlier look.

        Raises:
            DatabaseUnavailable: It is not; the process has to be started again.
        """
        if self._opened is None or self._journal is None:
            return
        if not self._lost:
            found = status(self._path)
            if found is not None and (found.st_dev, found.st_ino) == self._opened:
                self._journal.note_time(found)
                return
            self._lost = True
            ours = self._still_open()
            if ours is not None:
                self._journal.note_time(ours)
        raise DatabaseUnavailable(_GONE)

    def closed(self) -> None:
        """The connections were closed; one that is in use yet keeps the journal as it is."""
        if self._journal is not None and (not self._lost or self._still_open() is None):
            self._journal.release()

    def forked(self) -> None:
        """In the child of a fork."""
        if self._journal is not None:
            self._journal.forked()

    def _still_open(self) -> os.stat_result | None:
        """The file as this process has it open, wherever it is now."""
        with contextlib.suppress(OSError):
            for name in os.listdir("/dev/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    found = os.fstat(int(name))
                    if (found.st_dev, found.st_ino) == self._opened:
                        return found
        return None


def _path(name: str) -> str:
    """The path of a database; empty for one in memory, and for one opened to read only."""
    if name.startswith("file:"):
        parts = urlsplit(name)
        if re.search("immutable=|mode=(ro|memory)", parts.query):
            return ""
        name = unquote(parts.path)
    return "" if name in ("", ":memory:") else os.path.abspath(name)  # noqa: PTH100
