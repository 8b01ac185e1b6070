"""A look at a mirror in limited time: does it have data that the database does not have?

Schedulers look at mirrors once an hour. A status that is asked before they did has to say all
the same that the data of a lost database is at hand, and must not hang where a mirror does.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterable

import attrs

from expresso_persist.backups.catalog import iso
from expresso_persist.backups.manifest import IMPORTED
from expresso_persist.backups.mirrors import Copy, Mirror
from expresso_persist.backups.rotation import SAFETY_TYPES
from expresso_persist.db.database import Database
from expresso_persist.errors import ExpressoPersistError

__all__ = ["Lookout", "Seen", "copies_ahead", "lookout", "newest_ahead", "what_is_there"]

FRESH = 60.0
"""Seconds before a mirror is looked at again."""
PATIENCE = 2.0
"""Seconds that a caller waits for a look; a later caller gets its result."""


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
        copy = newest_ahead(Lookout(mirror, tenant).look().copies, 0, None)
        if copy is not None:
            found.append(what_is_there(mirror, copy, tenant))
    return found


def newest_ahead(copies: Iterable[Copy], revision: int, epoch: str | None) -> Copy | None:
    """The copy of the newest state, if that is one that a database never came to.

    Args:
        copies: Those of one tenant at a mirror.
        revision: Where the database stands.
        epoch: Which one it is; None for one without anything. What others came to, it did
            not, however far each has counted.
    """
    # An imported backup has the revision that it had where it was made.
    own = [
        copy
        for copy in copies
        if copy.backup_type != IMPORTED
        and (copy.revision > revision or copy.epoch not in (None, epoch))
    ]
    # The one that "latest" means, if there is one.
    own = [copy for copy in own if copy.backup_type not in SAFETY_TYPES] or own
    return max(own, key=lambda copy: (copy.revision, copy.created_at), default=None)


def what_is_there(mirror: Mirror, copy: Copy, tenant: str, epoch: str | None = None) -> str:
    """What a mirror has that the database ``epoch`` has not, and how to restore it."""
    other = epoch is not None and copy.epoch not in (None, epoch)
    what = (
        "which is of another database. None of its copies is ever removed by this one, so move "
        "them away if they are not needed, and give each database a mirror of its own."
        if other
        else "which is newer than what this database holds."
    )
    whose = "" if tenant == "default" else f" --tenant {shlex.quote(tenant)}"
    return (
        f"The mirror {mirror.name} has a copy of revision {copy.revision} (backup {copy.id}, "
        f"made {iso(copy.created_at)}), {what} To bring "
        f"it back: `expresso-persist backup restore {copy.id} --from "
        f"{shlex.quote(mirror.name)}{whose}`."
    )
