"""A backup of the very state that a commit is about to replace.

No backup may be made while a commit holds the tenant's lock, so it is made before; and other
clients write meanwhile. A commit that finds another state than the one that was backed up is
broken off, and the backup is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State, read_head

__all__ = ["Protection"]

T = TypeVar("T")

_TRIES = 5


class _NotProtected(Exception):
    """The commit would replace a state of which there is no backup yet."""


class Protection:
    """Keeps a backup of the state that one import or restore replaces.

    Stations that write without a pause would hold it up for ever: after five backups the last
    one has to do. What was written since is in the history, as everything that a commit
    replaces.

    Attributes:
        backup_id: The last backup that was made; None before the first one.
    """

    def __init__(self, repository: InventoryRepository, make: Callable[[], str]) -> None:
        """Protect a commit to ``repository`` by what ``make`` backs up; it gives the id."""
        self._repository = repository
        self._make = make
        self._revision: int | None = None
        self._made = 0
        self.backup_id: str | None = None

    def run(self, commit: Callable[[], T]) -> T:
        """Commit; make a backup and commit again as often as :meth:`require` asks for it."""
        while True:
            try:
                return commit()
            except _NotProtected:
                # Read before: whatever is committed from here on is noticed.
                self._revision = self._repository.head().revision
                self.backup_id = self._make()
                self._made += 1

    def require(self, state: State) -> None:
        """Break the commit of :meth:`run` off, unless the state that it decides on is backed up."""
        if self._made >= _TRIES:
            return
        head = read_head(state.connection, state.tenant)
        if self.backup_id is None or (0 if head is None else head.revision) != self._revision:
            raise _NotProtected
