"""Which backups stay, here and at a mirror: a pure decision with a reason for each one.

Nothing here reads a clock, a database or a time zone of the machine. The manager asks for
a plan and carries it out; a dry run only asks.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import attrs

from expresso_persist.errors import InvalidConfiguration

__all__ = [
    "Decision",
    "PRE_IMPORT",
    "Rotatable",
    "Rotation",
    "SAFETY_TYPES",
    "SyncPlan",
    "plan",
    "plan_sync",
]

PRE_IMPORT = "preimport"
SAFETY_TYPES = frozenset({"safety", PRE_IMPORT})
"""Types of backups of the state before something else; "latest" never means one of them."""
PRE_IMPORT_KEPT = 20


class Rotatable(Protocol):
    """What the rule looks at in a backup."""

    @property
    def id(self) -> str: ...
    @property
    def backup_type(self) -> str: ...
    @property
    def backup_status(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def created_at(self) -> dt.datetime: ...
    @property
    def verified_at(self) -> dt.datetime | None: ...
    @property
    def pinned(self) -> bool: ...


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidConfiguration(
            f"Rotation.{attribute.name} is a number of backups, 0 or more; got {value!r}."
        )


@attrs.frozen
class Rotation:
    """How many automatic backups stay.

    The counts add up to a union: a backup stays when any of them wants it. A tier such as
    ``daily=7`` keeps the newest backup of each of the 7 newest UTC days that have one.

    Attributes:
        keep_last: The newest ones by revision, whatever their time.
        hourly: One per hour for this many hours.
        daily: One per day.
        weekly: One per ISO week.
        monthly: One per month.
    """

    keep_last: int = attrs.field(default=50, validator=_count)
    hourly: int = attrs.field(default=0, validator=_count)
    daily: int = attrs.field(default=0, validator=_count)
    weekly: int = attrs.field(default=0, validator=_count)
    monthly: int = attrs.field(default=0, validator=_count)

    def __attrs_post_init__(self) -> None:
        if not any((self.keep_last, self.hourly, self.daily, self.weekly, self.monthly)):
            raise InvalidConfiguration(
                "This rotation would keep no backup at all; set at least one of keep_last, "
                "hourly, daily, weekly and monthly to 1 or more."
            )

    def __str__(self) -> str:
        parts = [f"the {self.keep_last} newest"] if self.keep_last else []
        parts += [
            f"{count} {name}"
            for name, count in (
                ("hourly", self.hourly),
                ("daily", self.daily),
                ("weekly", self.weekly),
                ("monthly", self.monthly),
            )
            if count
        ]
        return ", ".join(parts)


@attrs.frozen
class Decision:
    """Whether one backup stays, and the rule that says so."""

    backup_id: str
    keep: bool
    reason: str


def _hour(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%d %H}:00"


def _day(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%d}"


def _week(time: dt.datetime) -> str:
    year, week, _ = time.isocalendar()
    return f"{year}-W{week:02}"


def _month(time: dt.datetime) -> str:
    return f"{time:%Y-%m}"


def plan(
    backups: Iterable[Rotatable], rule: Rotation, *, now: dt.datetime | None = None
) -> tuple[Decision, ...]:
    """Decide for every backup, newest first.

    Args:
        backups: All backups of a tenant, in any order.
        rule: How many automatic ones stay.
        now: The database's clock. Backups dated after it stay and change nothing for the
            others, because a clock that was wrong for an hour must cost no backup.
            ``None``: no backup is treated as dated in the future.

    Returns:
        One decision per backup. Backups made by hand, pinned ones and those made before a
        restore stay, and the 20 newest of those made before an import. So does the newest
        verified automatic one, whatever the rule says.
    """
    ordered = sorted(backups, key=_order, reverse=True)
    reasons: dict[str, str] = {}
    rotating: list[Rotatable] = []
    before_imports: list[Rotatable] = []
    for backup in ordered:
        fixed = _kept_anyway(backup, now)
        if fixed is not None:
            reasons[backup.id] = fixed
        elif backup.backup_type == PRE_IMPORT:
            before_imports.append(backup)
        elif backup.backup_status == "completed":
            rotating.append(backup)
        elif len(rotating) < max(rule.keep_last, 1):
            # It may be mended yet, and it is shown as long as those of its age.
            reasons[backup.id] = "as new as those that stay, though failed or damaged"

    for backup in before_imports[:PRE_IMPORT_KEPT]:
        reasons[backup.id] = f"one of the {PRE_IMPORT_KEPT} newest made before an import"
    _keep_last(rotating, rule.keep_last, reasons)
    for name, count, bucket in (
        ("hour", rule.hourly, _hour),
        ("day", rule.daily, _day),
        ("week", rule.weekly, _week),
        ("month", rule.monthly, _month),
    ):
        _keep_tier(rotating, name, count, bucket, reasons)

    verified = (b for b in ordered if _may_be_newest_verified(b, now))
    for backup in itertools.islice(verified, 1):
        reasons.setdefault(backup.id, "the newest verified one")

    return tuple(
        Decision(b.id, True, reasons[b.id])
        if b.id in reasons
        else Decision(b.id, False, _why_dropped(b, rule))
        for b in ordered
    )


def _order(backup: Rotatable) -> tuple[int, dt.datetime, str]:
    """Clocks may have been wrong when backups were made; revisions never are."""
    return backup.revision, backup.created_at, backup.id


def _may_be_newest_verified(backup: Rotatable, now: dt.datetime | None) -> bool:
    return (
        backup.backup_type == "automatic"
        and backup.backup_status == "completed"
        and backup.verified_at is not None
        and (now is None or backup.created_at <= now)
    )


def _kept_anyway(backup: Rotatable, now: dt.datetime | None) -> str | None:
    """The reason that keeps a backup out of the rotation, if there is one."""
    if backup.pinned:
        return "pinned"
    if backup.backup_type == "manual":
        return "made by hand"
    if backup.backup_type == "safety":
        return "made before a restore"
    if backup.backup_type not in ("automatic", PRE_IMPORT):
        return f"of type {backup.backup_type}, which does not rotate"
    if now is not None and backup.created_at > now:
        return "dated in the future"
    return None


def _keep_last(rotating: list[Rotatable], count: int, reasons: dict[str, str]) -> None:
    for place, backup in enumerate(rotating[:count], start=1):
        reasons.setdefault(backup.id, f"newest: {place} of {count}")


def _keep_tier(
    rotating: list[Rotatable],
    name: str,
    count: int,
    bucket: Callable[[dt.datetime], str],
    reasons: dict[str, str],
) -> None:
    newest: dict[str, str] = {}
    for backup in rotating:  # newest first, so the first of a bucket is its newest
        newest.setdefault(bucket(backup.created_at.astimezone(dt.UTC)), backup.id)
    for place, label in enumerate(sorted(newest, reverse=True)[:count], start=1):
        reasons.setdefault(newest[label], f"newest of {name} {label}: {place} of {count}")


def _why_dropped(backup: Rotatable, rule: Rotation) -> str:
    if backup.backup_type == PRE_IMPORT:
        return f"made before an import, and {PRE_IMPORT_KEPT} newer ones are kept"
    if backup.backup_status != "completed":
        return "failed or damaged, and older than those that stay"
    return f"beyond the rule ({rule})"


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
