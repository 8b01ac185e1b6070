"""What a mirror lacks and what it need not keep; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import attrs

from expresso_persist.backups.rotation import Rotatable, Rotation, plan

__all__ = ["SyncPlan", "plan_sync"]

Here = TypeVar("Here", bound=Rotatable)
There = TypeVar("There", bound=Rotatable)


@attrs.frozen
class SyncPlan(Generic[Here, There]):
    """What makes a mirror complete.

    Attributes:
        copy: Backups to copy, newest first, because those are missed most.
        delete: Copies to remove, after everything else is there.
    """

    copy: tuple[Here, ...]
    delete: tuple[There, ...]


@attrs.frozen
class _ByTime:
    """A backup as if its database had never counted."""

    backup: Rotatable
    revision: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backup, name)


def plan_sync(
    here: Iterable[Here],
    there: Iterable[There],
    rule: Rotation,
    now: dt.datetime,
    *,
    keep: Iterable[str] = (),
) -> SyncPlan[Here, There]:
    """Compare a database with a mirror.

    The mirror's rule looks at both together, as if everything had been copied. So nothing is
    copied that would be removed at once, and an empty database removes nothing by being empty.

    Args:
        here: The verified backups of the database.
        there: What the mirror has.
        rule: The mirror's rotation.
        now: The database's clock.
        keep: Ids of copies that are not removed, whatever the rule says.
    """
    stored = {backup.id: backup for backup in here}
    copies = list(there)
    union: dict[str, Rotatable] = {copy.id: copy for copy in copies}
    union.update(stored)  # the database knows which ones are pinned
    # A clock that was wrong puts times out of order, and a new database that continues an old
    # one's mirror begins with revision 1. What either order keeps stays.
    both = (union.values(), [_ByTime(backup) for backup in union.values()])
    kept = dict.fromkeys(
        decision.backup_id
        for backups in both
        for decision in plan(backups, rule, now=now)
        if decision.keep
    )
    present, spared = {copy.id for copy in copies}, {*kept, *keep}
    return SyncPlan(
        copy=tuple(stored[name] for name in kept if name in stored and name not in present),
        delete=tuple(copy for copy in copies if copy.id not in spared),
    )
