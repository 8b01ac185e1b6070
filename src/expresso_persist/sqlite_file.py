"""The file behind a SQLite database: is it still the one that was opened?

SQLite goes on writing to a file that was deleted or replaced under it and tells nobody:
what it confirms is gone with its last connection.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from expresso_persist.errors import DatabaseUnavailable

__all__ = ["SqliteFile"]


class SqliteFile:
    """Notices that a database file was deleted, moved or replaced.

    A file that is overwritten in place stays the same one by every sign that can be
    looked at in passing; that has to be done while no server runs.
    """

    def __init__(self) -> None:
        """Nothing is known before the first connection."""
        self._path = ""
        self._opened: tuple[int, int] | None = None
        self._journal: tuple[int, int] | None = None

    def opened(self, connection: sqlite3.Connection) -> None:
        """Remember the file of the first connection; a database in memory has none."""
        if self._opened is not None:
            return
        for _, name, path in connection.execute("PRAGMA database_list").fetchall():
            if name == "main" and path:
                self._path, self._opened = path, _identity(path)

    def check(self) -> None:
        """Make sure that it is still there.

        Raises:
            DatabaseUnavailable: It is not; the process has to be started again.
        """
        if self._opened is None:
            return
        if _identity(self._path) == self._opened:
            self._journal = _identity(f"{self._path}-wal") or self._journal
            return
        self._set_journal_aside()
        raise DatabaseUnavailable(
            "The database file was deleted, moved or replaced while the server used it, so "
            "nothing is read or written any more. Put the right file in its place and start "
            "the server again."
        )

    def _set_journal_aside(self) -> None:
        """Keep the old file's journal from being replayed into the file in its place.

        SQLite leaves it there when it notices that the file was moved, and trusts whatever
        journal it finds at the next start.
        """
        journal = f"{self._path}-wal"
        if self._journal is None or _identity(journal) != self._journal:
            return
        with contextlib.suppress(OSError):
            Path(journal).rename(f"{self._path}-wal-of-replaced-file")
        with contextlib.suppress(OSError):
            Path(f"{self._path}-shm").unlink()


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode: what a renamed file keeps and another file does not have."""
    try:
        found = os.stat(path)  # noqa: PTH116 - at each use of a connection; a Path costs more
    except OSError:
        return None
    return found.st_dev, found.st_ino
