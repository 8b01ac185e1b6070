"""What a restore would do, and to which records. Nothing here writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog, iso
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import HOST_PREFIX, Manifest
from expresso_persist.backups.verification import check_host_rows, load, open_records
from expresso_persist.commits.hash_chain import read_key
from expresso_persist.commits.state import State, read_head
from expresso_persist.db.tables import changes, commits
from expresso_persist.documents.codec import DOCUMENT_KEYS, STATION_STOCK_PREFIX
from expresso_persist.errors import IdempotencyMismatch, InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json, check_storable
from expresso_persist.model.plan import Plan, diff
from expresso_persist.model.records import RECORD_TYPES, Commit, Record, RecordKey

__all__ = [
    "RestorePlan",
    "Scope",
    "UndoneCommit",
    "made_again",
    "make_plan",
    "replayed_plan",
    "undone_commits",
]

_STATION_KINDS = frozenset(
    kind for kind, of in RECORD_TYPES.items() if of.key_columns[0] == "station_id"
)


@attrs.frozen
class Scope:
    """Which records are meant.

    Attributes:
        kinds: The kinds of record that were asked for.
        stations: Only what belongs to these stations…
        keys: …and the records at or below these keys, written ``kind:part/part``. When both
            are empty, all records of the kinds are meant.
        whole: True when nothing was left out.
    """

    kinds: tuple[str, ...]
    stations: frozenset[str]
    keys: frozenset[str]
    whole: bool

    @classmethod
    def of(
        cls,
        kinds: Iterable[str] | None = None,
        stations: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
    ) -> Scope:
        """Check what was asked for; None is everything.

        Raises:
            InvalidInput: One of the names is not a kind of record, or a list is empty.
        """
        known = tuple(sorted(RECORD_TYPES))
        wanted = {*known} if kinds is None else _some("kind", kinds)
        of_stations = frozenset() if stations is None else _some("station", stations)
        at_keys = frozenset() if keys is None else _some("key", keys)
        for name in sorted(wanted - {*known}):
            if name.startswith(HOST_PREFIX):
                raise InvalidInput(
                    f"{name} belongs to the host application, which a restore never writes."
                )
            raise InvalidInput(f"{name!r} is not a kind of record; use {', '.join(known)}.")
        if not {key.partition(":")[0] for key in at_keys} <= wanted:
            raise InvalidInput(
                "A key is written kind:part/part, as `backup diff --records` shows it, such as "
                f"event_inventory:milk/Oat; the kinds here are {', '.join(sorted(wanted))}."
            )
        return cls(
            tuple(name for name in known if name in wanted),
            of_stations,
            at_keys,
            whole=wanted == {*known} and not of_stations and not at_keys,
        )

    @property
    def narrowed(self) -> bool:
        """Whether only some records of the kinds are meant."""
        return bool(self.stations or self.keys)

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds to read: those asked for, and the layouts that go with them."""
        return self.kinds if "layout" in self.kinds else (*self.kinds, "layout")

    def holds(self, key: RecordKey) -> bool:
        """Whether a record is meant: a document's shape goes with its records."""
        if key.kind not in self.kinds and not self._goes_along(key):
            return False
        return not self.narrowed or _station(key) in self.stations or self._named(key)

    def filter(self, records: Iterable[Record]) -> list[Record]:
        """The records that are meant."""
        if self.whole:
            return list(records)
        return [record for record in records if self.holds(record.key)]

    def current(self, state: State) -> list[Record]:
        """What is stored now of it."""
        return self.filter(record for kind in self.reads for record in state.all(kind))

    def unmatched(self, records: Iterable[Record]) -> list[str]:
        """The stations and keys that none of these records belongs to."""
        stations, keys = {*self.stations}, {*self.keys}
        for record in records:
            if not (stations or keys):
                break
            stations.discard(_station(record.key) or "")
            keys.difference_update(_and_above(record.key))
        return [*(f"station {name}" for name in sorted(stations)), *sorted(keys)]

    def _goes_along(self, key: RecordKey) -> bool:
        if key.kind != "layout":
            return False
        document = key.parts[0]
        return any(DOCUMENT_KEYS.get(kind) == document for kind in self.kinds) or (
            "station_stock" in self.kinds and document.startswith(STATION_STOCK_PREFIX)
        )

    def _named(self, key: RecordKey) -> bool:
        return not self.keys.isdisjoint(_and_above(key))


def _some(what: str, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise InvalidInput(f"What to restore is a list of {what}s.")
    found = frozenset(names)
    for name in found:
        if not isinstance(name, str):
            raise InvalidInput(f"What to restore is a list of {what}s, each a text.")
        check_storable(**{what: name})
    if not found:
        raise InvalidInput(f"Name at least one {what} to restore.")
    return found


def _station(key: RecordKey) -> str | None:
    """The station that a record belongs to, if it belongs to one."""
    if key.kind in _STATION_KINDS:
        return key.parts[0]
    if key.kind == "layout" and key.parts[0].startswith(STATION_STOCK_PREFIX):
        return key.parts[0].removeprefix(STATION_STOCK_PREFIX)
    return None


def _and_above(key: RecordKey) -> Iterator[str]:
    """A key as text, and what it lies below: ``kind:a/b``, ``kind:a``."""
    return (str(RecordKey(key.kind, key.parts[:end])) for end in range(len(key.parts), 0, -1))


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
class RestorePlan:
    """What a restore does, or would do.

    Attributes:
        backup: Where it restores from.
        scope: The records it is about.
        plan: The records it adds, changes and removes.
        undone: The newest commits since the backup whose effects it takes back.
        undone_count: How many such commits there are.
        host_tables: Rows per host table in the backup; a restore never writes them.
        notes: What a reader should know besides.
        dry_run: Nothing was written.
        committed: The restore made a commit.
        revision: The tenant's revision: the new one after a restore, else the current one.
        safety_backup_id: The backup that was made of the state before.
        since: The revision that it goes back to; None for a backup that does not count with
            the database.
        receipt: Of a restore that was carried out earlier under the same idempotency key, what
            it answered; the records that stayed as they are are no more than counted there.
    """

    backup: Backup
    scope: Scope
    plan: Plan
    undone: tuple[UndoneCommit, ...]
    undone_count: int
    host_tables: dict[str, int | str]
    notes: tuple[str, ...]
    dry_run: bool
    revision: int
    committed: bool = False
    safety_backup_id: str | None = None
    since: int | None = None
    receipt: dict[str, Any] | None = None

    @property
    def replayed(self) -> bool:
        """Whether an earlier restore under the same idempotency key did this."""
        return self.receipt is not None

    @property
    def summary(self) -> list[str]:
        """The plan in sentences."""
        if self.receipt is not None:
            return [*self.receipt["summary"]]
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
            which = f"revision {first}" if first == last else f"revisions {first} to {last}"
            sentences.append(
                f"{self.undone_count} commit{'s' * (self.undone_count != 1)} since the backup "
                f"touched these records ({which}), and {verb} taken back."
            )
        if self.safety_backup_id:
            sentences.append(f"The state before is in safety backup {self.safety_backup_id}.")
        return [*sentences, *self.notes]

    def to_json(self) -> dict[str, Json]:
        """The plan as a JSON object: counts, never the records' contents."""
        if self.receipt is not None:
            return self.receipt
        return {
            "backup": self.backup.to_json(),
            "kinds": [*self.scope.kinds],
            "stations": [*sorted(self.scope.stations)],
            "keys": [*sorted(self.scope.keys)],
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
    connection: Connection, catalog: Catalog, chunks: ChunkStore, backup_id: str, scope: Scope
) -> tuple[RestorePlan, list[Record]]:
    """Compare a backup with what is stored.

    Returns:
        The plan, and the backup's records inside ``scope``.
    """
    backup, manifest = load(connection, catalog, backup_id)
    if scope.whole:  # a backup that is damaged anywhere is not restored as a whole
        check_host_rows(connection, chunks, manifest)
    wanted = scope.filter(open_records(connection, chunks, manifest, scope.reads))
    return _compared(connection, backup, manifest, wanted, scope), wanted


def _compared(
    connection: Connection, backup: Backup, manifest: Manifest, wanted: list[Record], scope: Scope
) -> RestorePlan:
    current = scope.current(State(connection, manifest.tenant))
    if nothing := scope.unmatched([*wanted, *current]):
        raise InvalidInput(
            f"Neither the backup nor the database has anything of {', '.join(nothing)}."
        )
    head = read_head(connection, manifest.tenant)
    notes: list[str] = []
    undone: tuple[UndoneCommit, ...] = ()
    count, since = 0, None
    if head is None or head.epoch != manifest.epoch:
        notes.append("The backup comes from another copy of the database.")
    elif head.revision < manifest.revision:
        notes.append("The backup is newer than the database.")
    else:
        since = manifest.revision
        undone, count = undone_commits(connection, manifest.tenant, since, scope)
    host = {
        s.name: s.records if s.state == "stored" else s.state
        for s in manifest.sections
        if s.from_host
    }
    if any(isinstance(rows, int) and rows for rows in host.values()):
        notes.append("Rows of the host's own tables are in the backup and are not restored.")
    return RestorePlan(
        backup=backup,
        scope=scope,
        plan=diff(current, wanted),
        undone=undone,
        undone_count=count,
        host_tables={name.removeprefix(HOST_PREFIX): rows for name, rows in host.items()},
        notes=tuple(notes),
        dry_run=True,
        revision=0 if head is None else head.revision,
        since=since,
    )


def made_again(plan: RestorePlan, state: State, wanted: Sequence[Record]) -> RestorePlan:
    """The plan as it is for the state under the tenant's lock."""
    undone, count = plan.undone, plan.undone_count
    if plan.since is not None:
        undone, count = undone_commits(state.connection, state.tenant, plan.since, plan.scope)
    return attrs.evolve(
        plan,
        plan=diff(plan.scope.current(state), wanted),
        undone=undone,
        undone_count=count,
    )


def replayed_plan(commit: Commit, scope: Scope) -> RestorePlan:
    """What an earlier restore did, from its commit.

    Raises:
        IdempotencyMismatch: The commit is none of a restore.
    """
    if commit.source != "restore" or commit.receipt is None:
        raise IdempotencyMismatch
    content: Any = json_text.loads(commit.receipt)
    return RestorePlan(
        backup=msgspec.convert(content["backup"], Backup),
        scope=scope,
        plan=Plan(
            added=tuple(c.after for c in commit.changes if c.after and not c.before),
            changed=tuple((c.before, c.after) for c in commit.changes if c.before and c.after),
            removed=tuple(c.before for c in commit.changes if c.before and not c.after),
        ),
        undone=msgspec.convert(content["undone_commits"], tuple[UndoneCommit, ...]),
        undone_count=content["undone_count"],
        host_tables=content["host_tables"],
        notes=(),
        dry_run=False,
        revision=commit.revision,
        committed=True,
        safety_backup_id=content["safety_backup_id"],
        receipt=content,
    )


def undone_commits(
    connection: Connection, tenant: str, since: int, scope: Scope
) -> tuple[tuple[UndoneCommit, ...], int]:
    """The commits after revision ``since`` that touched the scope, newest first."""
    whose = (changes.c.kind, changes.c.record_key) if scope.narrowed else ()
    touching = (
        sa.select(changes.c.revision, *whose)
        .where(
            changes.c.tenant_id == tenant,
            changes.c.revision > since,
            changes.c.kind.in_(scope.kinds),
        )
        .distinct()
    )
    revisions = {
        row.revision
        for row in connection.execute(touching)
        if not scope.narrowed or scope.holds(read_key(row.kind, row.record_key))
    }
    newest = sorted(revisions)[-_MOST_UNDONE:]
    rows = connection.execute(
        sa.select(
            commits.c.revision,
            commits.c.actor,
            commits.c.source,
            commits.c.note,
            commits.c.created_at,
        )
        .where(commits.c.tenant_id == tenant, commits.c.revision.in_(newest))
        .order_by(commits.c.revision.desc())
    )
    return tuple(UndoneCommit(*row) for row in rows), len(revisions)
