"""What a restore would do, told before it is done. Nothing here writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, iso
from expresso_persist.backups.manifest import HOST_PREFIX, Manifest
from expresso_persist.errors import InvalidInput
from expresso_persist.jsontext import Json
from expresso_persist.layouts import DOCUMENT_KEYS, STATION_STOCK_PREFIX
from expresso_persist.plan import Plan, diff
from expresso_persist.records import RECORD_TYPES, Record
from expresso_persist.state import State, read_head
from expresso_persist.tables import changes, commits

__all__ = ["RestorePlan", "Scope", "UndoneCommit", "make_plan", "undone_commits"]

_MOST_UNDONE = 1000


@attrs.frozen
class UndoneCommit:
    """A commit since the backup that the restore would undo."""

    revision: int
    actor: str
    source: str
    note: str
    created_at: dt.datetime

    def to_json(self) -> dict[str, Json]:
        """The commit as a JSON object."""
        return {**attrs.asdict(self), "created_at": iso(self.created_at)}


@attrs.frozen
class Scope:
    """Which records a restore is about.

    Attributes:
        kinds: The kinds of record that were asked for.
        whole: True when nothing was left out.
    """

    kinds: tuple[str, ...]
    whole: bool

    @classmethod
    def of(cls, kinds: Iterable[str] | None) -> Scope:
        """Check what was asked for; None is everything.

        Raises:
            InvalidInput: One of the names is not a kind of record.
        """
        known = tuple(sorted(RECORD_TYPES))
        if kinds is None:
            return cls(known, whole=True)
        wanted = set(kinds)
        for name in sorted(wanted - set(known)):
            if name.startswith(HOST_PREFIX):
                raise InvalidInput(
                    f"{name} belongs to the host application, which a restore never writes."
                )
            raise InvalidInput(f"{name!r} is not a kind of record; use {', '.join(known)}.")
        if not wanted:
            raise InvalidInput("Name at least one kind of record to restore.")
        return cls(tuple(name for name in known if name in wanted), whole=wanted == set(known))

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds to read: those asked for, and the layouts that go with them."""
        return self.kinds if "layout" in self.kinds else (*self.kinds, "layout")

    def holds(self, record: Record) -> bool:
        """Whether a record is restored: a document's shape goes with its records."""
        if record.kind != "layout" or "layout" in self.kinds:
            return record.kind in self.kinds
        key = record.parts[0]
        return any(DOCUMENT_KEYS.get(kind) == key for kind in self.kinds) or (
            "station_stock" in self.kinds and key.startswith(STATION_STOCK_PREFIX)
        )

    def filter(self, records: Iterable[Record]) -> list[Record]:
        """The records that are restored."""
        return [record for record in records if self.holds(record)]

    def current(self, state: State) -> list[Record]:
        """What is stored now of it."""
        return self.filter(record for kind in self.reads for record in state.all(kind))


@attrs.frozen
class RestorePlan:
    """What a restore does, or would do.

    Attributes:
        backup: Where it restores from.
        kinds: The kinds of record it is about.
        plan: The records it adds, changes and removes.
        undone: The newest commits since the backup whose effects it takes back.
        undone_count: How many such commits there are.
        host_tables: Rows per host table in the backup; a restore never writes them.
        notes: What a reader should know besides.
        dry_run: Nothing was written.
        committed: The restore made a commit.
        revision: The tenant's revision: the new one after a restore, else the current one.
        safety_backup_id: The backup that was made of the state before.
    """

    backup: Backup
    kinds: tuple[str, ...]
    plan: Plan
    undone: tuple[UndoneCommit, ...]
    undone_count: int
    host_tables: dict[str, int | str]
    notes: tuple[str, ...]
    dry_run: bool
    revision: int
    committed: bool = False
    safety_backup_id: str | None = None

    @property
    def summary(self) -> list[str]:
        """The plan in sentences."""
        counts = self.plan.counts
        verb = "would be" if self.dry_run else "were"
        if self.plan.empty:
            sentences = ["The stored state equals the backup; there is nothing to restore."]
        else:
            sentences = [
                (
                    f"{counts.added} records {verb} added, {counts.changed} changed and "
                    f"{counts.removed} removed; {counts.unchanged} stay as they are."
                )
            ]
        if self.undone_count:
            first, last = self.undone[-1].revision, self.undone[0].revision
            sentences.append(
                f"{self.undone_count} commits since the backup touched these records "
                f"(up to revision {last}, from {first}); their effects {verb} taken back."
            )
        if self.safety_backup_id:
            sentences.append(f"The state before is in safety backup {self.safety_backup_id}.")
        return [*sentences, *self.notes]

    def to_json(self) -> dict[str, Json]:
        """The plan as a JSON object: counts, never the records' contents."""
        return {
            "backup": self.backup.to_json(),
            "kinds": list(self.kinds),
            "dry_run": self.dry_run,
            "committed": self.committed,
            "revision": self.revision,
            "safety_backup_id": self.safety_backup_id,
            "records": {**self.plan.counts.to_json()},
            "by_kind": {
                kind: {**counts.to_json()} for kind, counts in self.plan.counts_by_kind().items()
            },
            "undone_commits": [commit.to_json() for commit in self.undone],
            "undone_count": self.undone_count,
            "host_tables": dict(self.host_tables),
            "summary": list(self.summary),
        }


def make_plan(
    connection: Connection, backup: Backup, manifest: Manifest, wanted: list[Record], scope: Scope
) -> RestorePlan:
    """Compare a backup with what is stored; ``wanted`` are its records inside ``scope``."""
    state = State(connection, manifest.tenant)
    head = read_head(connection, manifest.tenant)
    notes: list[str] = []
    undone: tuple[UndoneCommit, ...] = ()
    count = 0
    if head is None or head.epoch != manifest.epoch:
        notes.append("The backup comes from another copy of the database.")
    elif head.revision < manifest.revision:
        notes.append("The backup is newer than the database.")
    else:
        undone, count = undone_commits(connection, manifest.tenant, manifest.revision, scope)
    host = {
        s.name: s.records if s.state == "stored" else s.state
        for s in manifest.sections
        if s.from_host
    }
    if any(isinstance(rows, int) and rows for rows in host.values()):
        notes.append("Rows of the host's own tables are in the backup and are not restored.")
    return RestorePlan(
        backup=backup,
        kinds=scope.kinds,
        plan=diff(scope.current(state), wanted),
        undone=undone,
        undone_count=count,
        host_tables={name.removeprefix(HOST_PREFIX): rows for name, rows in host.items()},
        notes=tuple(notes),
        dry_run=True,
        revision=0 if head is None else head.revision,
    )


def undone_commits(
    connection: Connection, tenant: str, since: int, scope: Scope
) -> tuple[tuple[UndoneCommit, ...], int]:
    """The commits after revision ``since`` that touched the scope, newest first."""
    touching = sa.select(changes.c.revision).where(
        changes.c.tenant_id == tenant, changes.c.revision > since
    )
    if not scope.whole:
        touching = touching.where(changes.c.kind.in_(scope.kinds))
    touching = touching.distinct()
    total = connection.scalar(sa.select(sa.func.count()).select_from(touching.subquery()))
    rows = connection.execute(
        sa.select(
            commits.c.revision,
            commits.c.actor,
            commits.c.source,
            commits.c.note,
            commits.c.created_at,
        )
        .where(commits.c.tenant_id == tenant, commits.c.revision.in_(touching))
        .order_by(commits.c.revision.desc())
        .limit(_MOST_UNDONE)
    )
    return tuple(UndoneCommit(*row) for row in rows), int(total or 0)
