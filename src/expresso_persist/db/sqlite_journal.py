"""Whose journal is it? SQLite replays whatever journal it finds beside a file.

A journal (``expresso.db-wal``) holds the newest commits of one database file. When another
file is put in that one's place, the next start would replay them into the wrong file; when
the file is missing, SQLite would throw them away. So a note beside the file
(``expresso.db-wal-owner``) says which file the journal belongs to: by its inode, and by when it
was made, because a file that is deleted leaves its inode to the next one. Every process that
has the file open holds a shared lock on the note; who moves a journal holds it alone, so
nothing is moved under a process that writes.

A journal whose file was replaced is kept as ``expresso.db-wal-of-<inode>-<made>-<written>``. When
that file is back, as it was, the next start brings its journal back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from expresso_persist.errors import DatabaseUnavailable

if sys.platform != "win32":
    import fcntl

__all__ = ["Journal", "refuse_without_file", "status"]

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system without locks
_PATIENCE = 2.0  # seconds that a start waits for another one, or for a process that stops
_FORM = "{:020d} {:020d} {:020d} {:020d}\n"  # of one length, so that it is written in one piece


class _Owner(NamedTuple):
    database: int
    made: int
    written: int
    journal: int


class Journal:
    """The journal of one database file, and the note that says so."""

    def __init__(self, path: str) -> None:
        """Look at the journal of the file at ``path``, which is the file's own, not a link's."""
        self._path = path
        self._journal = f"{path}-wal"
        self._note = Path(f"{path}-wal-owner")
        self._mutex = threading.Lock()
        self._handle: int | None = None
        self._noted: _Owner | None = None

    def hold(self) -> None:
        """Before connecting: see that the journal belongs to the file, and keep it so.

        Raises:
            DatabaseUnavailable: The file is missing, or another process has the one open
                that was here before.
        """
        refuse_without_file(self._path)
        if sys.platform == "win32":
            return  # a file that is open can be neither moved nor replaced there
        with self._mutex:
            if self._handle is None:
                self._handle = self._held()

    def _held(self) -> int | None:
        while True:
            try:
                handle = os.open(self._note, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                return None  # who cannot write here makes no journal either
            try:
                self._settle_in_time(handle)
                fcntl.flock(handle, fcntl.LOCK_SH)
            except BaseException as error:
                os.close(handle)
                if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                    return None
                raise
            there = status(str(self._note))
            if there is not None and there.st_ino == os.fstat(handle).st_ino:
                return handle
            os.close(handle)  # the last process that left has removed the note meanwhile

    def note(self, database: os.stat_result) -> None:
        """Say that the journal at its place belongs to this file."""
        journal = status(self._journal)
        if journal is None:
            return
        made = _made(self._path, database)
        owner = _Owner(database.st_ino, made, database.st_mtime_ns, journal.st_ino)
        if owner != self._noted:
            self._write(owner)

    def note_time(self, database: os.stat_result) -> None:
        """Say when the file was last written, which changes when the journal is emptied."""
        noted = self._noted
        if noted is not None and noted.written != database.st_mtime_ns:
            self._write(noted._replace(written=database.st_mtime_ns))

    def _write(self, owner: _Owner) -> None:
        # Under the mutex: the number of a handle that was closed may be another file's.
        with self._mutex, contextlib.suppress(OSError):  # a full disk; the earlier note stays
            if self._handle is not None:
                os.pwrite(self._handle, _FORM.format(*owner).encode(), 0)
                self._noted = owner

    def forked(self) -> None:
        """In the child of a fork: the lock is the parent's, and so are its threads."""
        self._mutex = threading.Lock()
        self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = self._noted = None

    def release(self) -> None:
        """After the last connection of this process: let others have it, and tidy up."""
        with self._mutex:
            if self._handle is None:
                return
            with contextlib.suppress(OSError, DatabaseUnavailable):
                if _alone(self._handle):
                    self._settle(self._handle)
                    if status(self._journal) is None:
                        self._note.unlink()
            self._let_go()

    def _settle_in_time(self, handle: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._unsettled(handle):
            if _alone(handle):
                self._settle(handle)
                return
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    "Another process still has the database file open that was here before. "
                    "Stop every process of the server, then start it again; nothing was changed."
                )
            time.sleep(0.02)

    def _unsettled(self, handle: int) -> bool:
        database = status(self._path)
        if database is None:
            return self._read(handle) is not None
        return self._belongs_elsewhere(handle, database) is not None or bool(self._kept(database))

    def _settle(self, handle: int) -> None:
        """Put every journal where it belongs, while no other process has the file open."""
        refuse_without_file(self._path)
        database = status(self._path)
        if database is None:
            return
        owner = self._belongs_elsewhere(handle, database)
        if owner is not None:
            kept = self._name(owner.database, owner.made, owner.written)
            _move(self._journal, kept)
            logger.warning(
                "Another file is in the place of the database file. The journal of the one that "
                "was there before, with its newest changes, is kept as %s. Put that file back, "
                "and the next start brings its journal back.",
                Path(kept).name,
            )
        self._bring_back(database)

    def _bring_back(self, database: os.stat_result) -> None:
        kept = self._kept(database)
        if not kept:
            return
        made = _made(self._path, database)
        name = self._name(database.st_ino, made, database.st_mtime_ns)
        if kept != [name] or status(self._journal) is not None:
            raise DatabaseUnavailable(
                f"{Path(kept[0]).name} is a journal that was set aside when another file was in "
                "the place of the database file. If the file here is the one that it belongs to, "
                f"and nothing else wrote to it since, rename it to {Path(self._journal).name}; if "
                "not, move it to another folder. Then start again; nothing was changed."
            )
        _move(name, self._journal)
        logger.warning(
            "The database file is back, and so is its journal, from %s.", Path(name).name
        )

    def _belongs_elsewhere(self, handle: int, database: os.stat_result) -> _Owner | None:
        """The file that the journal belongs to, if that is not the one that is here."""
        owner, journal = self._read(handle), status(self._journal)
        if owner is None or journal is None or owner.journal != journal.st_ino:
            return None
        here = (database.st_ino, _made(self._path, database))
        return owner if (owner.database, owner.made) != here else None

    def _kept(self, database: os.stat_result) -> list[str]:
        which = f"{database.st_ino}-{_made(self._path, database)}"
        return sorted(glob.glob(f"{glob.escape(self._journal)}-of-{which}-*"))  # noqa: PTH207

    def _name(self, inode: int, made: int, written: int) -> str:
        return f"{self._journal}-of-{inode}-{made}-{written}"

    def _read(self, handle: int) -> _Owner | None:
        parts = os.pread(handle, 100, 0).split()
        return _Owner(*map(int, parts)) if len(parts) == 4 else None


def refuse_without_file(path: str) -> None:
    """See that no journal lies where its file is missing.

    SQLite would throw the journal away and begin with an empty database.

    Raises:
        DatabaseUnavailable: One does.
    """
    database = status(path)
    if database is not None and database.st_size:
        return
    for journal in (f"{path}-wal", f"{path}-journal"):
        found = status(journal)
        if found is not None and found.st_size:
            raise DatabaseUnavailable(
                f"The database file {Path(path).name} is not there, but its journal "
                f"{Path(journal).name} is, with changes that belong into that file. Put the "
                "file back beside it and start "
                "again. Only if you want an empty database instead, or one that is restored "
                "from a backup, move the journal away as well."
            )


def _alone(handle: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _move(journal: str, name: str) -> None:
    try:
        os.rename(journal, name)  # noqa: PTH104 - by their names, as SQLite has them
    except OSError as error:
        raise DatabaseUnavailable(
            f"{Path(journal).name} has to be renamed to {Path(name).name}, because another file "
            f"is in the place of the database file than before, and that failed "
            f"({error.strerror}). Rename it yourself, then start again."
        ) from error


def status(path: str) -> os.stat_result | None:
    """What the file system says of a file; None when there is none."""
    try:
        return os.stat(path)  # noqa: PTH116 - at each use of a connection; a Path costs more
    except OSError:
        return None


class _Statx(ctypes.Structure):
    """What statx(2) fills in: 256 bytes, the time of birth at 80."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("before", ctypes.c_uint8 * 76),
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_uint32),
        ("after", ctypes.c_uint8 * 164),
    )


_BORN = 0x800  # STATX_BTIME
_HERE = -100  # AT_FDCWD


def _made(path: str, found: os.stat_result) -> int:
    """When a file was made, in nanoseconds; 0 where the system does not say.

    Python's ``os.stat`` does not have it on Linux. Without it, a file that was deleted and one
    that was made afterwards are the same if the file system gave the second one the first one's
    inode, as ext4 likes to do.
    """
    born: float | None = getattr(found, "st_birthtime", None)  # macOS
    if born is not None:
        return int(born * 1_000_000_000)
    with contextlib.suppress(AttributeError, OSError):  # a C library without statx
        answer = _Statx()
        name = os.fsencode(path)
        if not ctypes.CDLL(None).statx(_HERE, name, 0, _BORN, ctypes.byref(answer)):
            known = answer.mask & _BORN
            return answer.seconds * 1_000_000_000 + answer.nanoseconds if known else 0
    return 0
