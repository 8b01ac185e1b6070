"""What is known about each mirror: its row for all processes, and a look in limited time.

Schedulers look at mirrors once an hour and note in a row of ``backup_mirrors`` what they find.
A status that is asked before they did has to say all the same that the data of a lost database
is at hand, and must not hang where a mirror does.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import shlex
import threading
import time
from collections.abc import Iterable
from typing import Any, Self

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, iso
from expresso_persist.backups.manifest import IMPORTED
from expresso_persist.backups.mirrors import Copy, Mirror
from expresso_persist.backups.rotation import SAFETY_TYPES
from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.tables import backup_mirrors
from expresso_persist.errors import ExpressoPersistError

__all__ = [
    "Lookout",
    "MirrorRow",
    "MirrorRows",
    "Seen",
    "copies_ahead",
    "describe",
    "lookout",
    "newest_ahead",
    "what_is_there",
]

FRESH = 60.0
"""Seconds before a mirror is looked at again."""
PATIENCE = 2.0
"""Seconds that a caller waits for a look; a later caller gets its result."""


@attrs.frozen
class Seen:
    """The result of looking at a mirror.

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
    found = database.extensions.setdefault(
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
        f"{shlex.quote(mirror.name)}{whose}`, with --database unless it is the default one."
    )


logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_LOOK_AGAIN = dt.timedelta(hours=1)  # somebody may have removed copies there
_FIRST_RETRY = dt.timedelta(seconds=10)


@attrs.frozen
class MirrorRow:
    """What is known about a mirror, as far as it can be read."""

    mirror: str
    newest_id: str | None
    copies: int
    stored_bytes: int
    checked_at: dt.datetime | None
    failures: int
    error: str | None
    next_at: dt.datetime | None

    def is_due(self, now: dt.datetime) -> bool:
        """Whether it is time to look there, or the clock went back."""
        return self.next_at is None or not now <= self.next_at <= now + _LOOK_AGAIN

    def is_known(self, now: dt.datetime) -> bool:
        """Whether a process looked there, and no look is overdue."""
        if self.next_at is None:
            return False
        return bool(self.failures) or (self.checked_at is not None and self.next_at > now)

    @classmethod
    def columns(cls) -> list[str]:
        return [field.name for field in attrs.fields(cls)]

    @classmethod
    def read(cls, row: sa.Row[Any]) -> Self:
        return cls(
            mirror=raw.text(row.mirror) or "",
            newest_id=raw.text(row.newest_id),
            copies=raw.integer(row.copies) or 0,
            stored_bytes=raw.integer(row.stored_bytes) or 0,
            checked_at=raw.time(row.checked_at),
            failures=raw.integer(row.failures) or 0,
            error=raw.text(row.error),
            next_at=raw.time(row.next_at),
        )


class MirrorRows:
    """The rows of one tenant."""

    def __init__(self, database: Database, tenant: str) -> None:
        """Keep the rows of ``tenant`` in ``database``."""
        self._database = database
        self._tenant = tenant

    def read(self, connection: Connection) -> dict[str, MirrorRow]:
        """How each mirror is doing; a row that is damaged hides no other."""
        columns = raw.columns(connection, [backup_mirrors.c[name] for name in MirrorRow.columns()])
        mine = backup_mirrors.c.tenant_id == self._tenant
        rows = (MirrorRow.read(row) for row in connection.execute(sa.select(*columns).where(mine)))
        return {row.mirror: row for row in rows}

    def forget_warnings(self) -> None:
        """After a restore, what mirrors have is to be judged again: nothing noted counts."""
        ours = backup_mirrors.c.tenant_id == self._tenant
        healthy = sa.and_(ours, backup_mirrors.c.failures == 0, backup_mirrors.c.error.is_not(None))

        def forget(connection: Connection) -> None:
            now = self._database.now(connection)
            connection.execute(
                sa.update(backup_mirrors).where(healthy).values(error=None, next_at=now)
            )

        self._database.transact(forget)

    def note_success(
        self, mirror: str, newest: Backup | None, own: list[Copy], warning: str | None
    ) -> None:
        if warning is not None:
            logger.warning("%s", warning)

        def note(connection: Connection) -> None:
            now = self._database.now(connection)
            self._note(
                connection,
                mirror,
                newest_id=None if newest is None else newest.id,
                newest_at=None if newest is None else newest.created_at,
                copies=len(own),
                stored_bytes=sum(copy.size for copy in own),
                checked_at=now,
                failures=0,
                error=warning,
                next_at=now + _LOOK_AGAIN,
            )

        self._database.transact(note)

    def note_failure(self, mirror: str, error: str) -> None:
        def note(connection: Connection) -> dt.timedelta:
            now = self._database.now(connection)
            row = self.read(connection).get(mirror)
            failures = max(0, 0 if row is None else row.failures) + 1
            delay: dt.timedelta = min(_LOOK_AGAIN, _FIRST_RETRY * 2 ** min(failures - 1, 16))
            delay *= random.uniform(0.8, 1.0)  # noqa: S311 - spreads tries, no secret
            self._note(connection, mirror, failures=failures, error=error, next_at=now + delay)
            return delay

        delay = self._database.transact(note)
        logger.warning("%s Next try in %.0f s.", error, delay.total_seconds())

    def _note(self, connection: Connection, mirror: str, **values: Any) -> None:
        self._database.insert_if_absent(
            connection,
            backup_mirrors,
            {
                "tenant_id": self._tenant,
                "mirror": mirror,
                "copies": 0,
                "stored_bytes": 0,
                "failures": 0,
                "next_at": values["next_at"],
            },
        )
        connection.execute(
            sa.update(backup_mirrors)
            .where(
                backup_mirrors.c.tenant_id == self._tenant,
                backup_mirrors.c.mirror == mirror,
            )
            .values(**values)
        )


def describe(
    name: str, row: MirrorRow | None, backups: list[Backup], now: dt.datetime
) -> dict[str, Any]:
    """A mirror as a JSON object.

    Args:
        name: The mirror.
        row: What is known about it.
        backups: Those that belong there, newest first.
        now: The database's clock.
    """
    # Newest first by revision: what comes before the newest that is there is lacking.
    complete = None if row is None else row.newest_id
    ids = [backup.id for backup in backups]
    lacking = backups[: ids.index(complete)] if complete in ids else backups
    lag = max(0.0, *((now - backup.created_at).total_seconds() for backup in lacking), 0.0)
    failures = 0 if row is None else row.failures
    return {
        "mirror": name,
        "copies": 0 if row is None else row.copies,
        "stored_bytes": 0 if row is None else row.stored_bytes,
        "last_success_at": None if row is None else iso(row.checked_at),
        "lag_seconds": lag,
        "failures": failures,
        "last_error": None if row is None else row.error,
        "next_try_at": iso(row.next_at) if row is not None and failures else None,
    }
