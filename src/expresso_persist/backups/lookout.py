"""A look at a mirror that waits for nobody: whether it has what the database has not.

Schedulers look at mirrors once an hour. A status that is asked before they did has to say all
the same that the data of a lost database is at hand, and must not hang where a mirror does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import attrs

from expresso_persist.backups.mirrors import Copy, Mirror, newest_ahead, told
from expresso_persist.db.database import Database
from expresso_persist.errors import ExpressoPersistError

__all__ = ["Lookout", "Seen", "copies_ahead", "lookout"]

FRESH = 60.0
"""Seconds for which what was seen counts as how it is."""
PATIENCE = 2.0
"""Seconds that a look is waited for; who asks later gets what it found."""


@attrs.frozen
class Seen:
    """What a look found.

    Attributes:
        copies: What is at the mirror.
        error: Why it is not known.
    """

    copies: tuple[Copy, ...] = ()
    error: str | None = None


class Lookout:
    """Looks at one mirror for one tenant, in a thread: at most one look a minute."""

    def __init__(self, mirror: Mirror, tenant: str) -> None:
        self._mirror = mirror
        self._tenant = tenant
        self._started = 0.0
        self._thread: threading.Thread | None = None
        self._seen = Seen(error=f"The mirror {mirror.name} has not answered yet.")

    def look(self) -> Seen:
        """What is there, or was a minute ago; where the mirror hangs, that it does."""
        thread, now = self._thread, time.monotonic()
        if thread is None or (not thread.is_alive() and now - self._started > FRESH):
            # Two that begin at the same time look twice, which does no harm.
            self._started = now
            thread = threading.Thread(
                target=self._read, name="expresso-persist-lookout", daemon=True
            )
            thread.start()
            self._thread = thread
        thread.join(max(0.0, self._started + PATIENCE - time.monotonic()))
        return self._seen

    def _read(self) -> None:
        try:
            self._seen = Seen(tuple(self._mirror.copies(self._tenant)))
        except ExpressoPersistError as error:
            self._seen = Seen(error=error.message)


def lookout(database: Database, mirror: Mirror, tenant: str) -> Lookout:
    """The one of a mirror, tenant and database: managers come and go with requests."""
    found = database.companions.setdefault(
        f"lookout {tenant} {mirror.name}", Lookout(mirror, tenant)
    )
    assert isinstance(found, Lookout)
    return found


def copies_ahead(mirrors: Iterable[Mirror], tenant: str) -> list[str]:
    """A sentence for each mirror that has a tenant of which there is nothing here.

    A mirror that cannot be read is left out: this is asked where something is wrong already.
    """
    found = []
    for mirror in mirrors:
        copy = newest_ahead(Lookout(mirror, tenant).look().copies, 0)
        if copy is not None:
            found.append(told(mirror, copy, tenant))
    return found
