"""History: who did what to a record or a station, and how to take a commit back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import ChangeRow, change_rows, change_to_json, read_change
from expresso_persist.commits.state import State, forgotten_through
from expresso_persist.db.tables import changes, commits
from expresso_persist.errors import (
    HistoryForgotten,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    Problem,
    UndoConflict,
)
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import (
    RECORD_TYPES,
    Change,
    Commit,
    Delete,
    Operation,
    Put,
    RecordKey,
)

__all__ = ["HistoryEntry", "HistoryPage", "UndoPlan", "plan_undo", "read_history", "read_undo"]

_STATION_KINDS = tuple(
    kind for kind, cls in RECORD_TYPES.items() if cls.key_columns[0] == "station_id"
)


@attrs.frozen
class HistoryEntry:
    """A commit, as the history of something shows it.

    Attributes:
        revision: The commit's revision.
        at: UTC time of the commit.
        actor: Who did it.
        source: What it came from: ``api``, ``movement``, ``import``, ``undo``, …
        note: Free text for people.
        movement: For a stock movement what was asked, see
            :class:`~expresso_persist.stock.requests.Movement`.
        undoes: For an undo the revision that it took back.
        changes: What the commit did to what the history is about.
    """

    revision: int
    at: dt.datetime
    actor: str
    source: str
    note: str
    movement: Mapping[str, Json] | None
    undoes: int | None
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object; what is not there is left out."""
        optional = {"note": self.note or None, "movement": self.movement, "undoes": self.undoes}
        return {
            "revision": self.revision,
            "at": self.at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
            "actor": self.actor,
            "source": self.source,
            **{name: value for name, value in optional.items() if value is not None},
            "changes": [change_to_json(change) for change in self.changes],
        }


@attrs.frozen
class HistoryPage:
    """Entries, newest first, and whether there are older ones."""

    entries: tuple[HistoryEntry, ...]
    more: bool

    def to_json(self) -> dict[str, Any]:
        """The page as a JSON object."""
        return {"entries": [entry.to_json() for entry in self.entries], "more": self.more}


def read_history(
    connection: Connection,
    tenant: str,
    *,
    key: RecordKey | None,
    station_id: str | None,
    before: int | None,
    limit: int,
) -> HistoryPage:
    """The commits that touched a record or a station's records, or all commits."""
    about = _about(key, station_id)
    source = commits if about is None else changes
    newer = forgotten_through(connection, tenant)  # of what is older, not all is there
    query = sa.select(source.c.revision).where(
        source.c.tenant_id == tenant, source.c.revision > newer
    )
    if about is not None:
        query = query.where(about)
    if before is not None:
        query = query.where(source.c.revision < before)
    query = query.distinct().order_by(source.c.revision.desc()).limit(limit + 1)
    revisions = list(connection.scalars(query))
    shown = revisions[:limit]
    rows = connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant, changes.c.revision.in_(shown))
        .where(sa.true() if about is None else about)
        .order_by(changes.c.revision, changes.c.ordinal)
    )
    found: dict[int, list[Change]] = {}
    for row in rows:
        found.setdefault(row.revision, []).append(_change(row))
    entries = connection.execute(
        sa.select(commits)
        .where(commits.c.tenant_id == tenant, commits.c.revision.in_(shown))
        .order_by(commits.c.revision.desc())
    )
    return HistoryPage(
        tuple(_entry(row, found.get(row.revision, [])) for row in entries), len(revisions) > limit
    )


def _about(key: RecordKey | None, station_id: str | None) -> sa.ColumnElement[bool] | None:
    if key is not None:
        text = json_text.dumps(list(key.parts))
        return sa.and_(changes.c.kind == key.kind, changes.c.record_key == text)
    if station_id is None:
        return None
    whole = json_text.dumps([station_id])
    prefix = f"{whole[:-1]},"
    return sa.and_(
        changes.c.kind.in_(_STATION_KINDS),
        # Not LIKE: on SQLite it takes "a" for "A".
        sa.or_(
            changes.c.record_key == whole,
            sa.func.substr(changes.c.record_key, 1, len(prefix)) == prefix,
        ),
    )


def _change(row: Any) -> Change:
    return read_change(ChangeRow(row.kind, row.record_key, row.before, row.after))


def _entry(row: Any, touched: list[Change]) -> HistoryEntry:
    receipt = _receipt(row)
    movement, undo = receipt.get("movement"), receipt.get("undo")
    return HistoryEntry(
        row.revision,
        row.created_at,
        row.actor,
        row.source,
        row.note,
        movement if isinstance(movement, dict) else None,
        undo["revision"] if isinstance(undo, dict) else None,
        tuple(touched),
    )


def _receipt(row: Any) -> Mapping[str, Any]:
    # An import's receipt lists every key of its dump, which is not needed here.
    if row.receipt is None or row.source not in ("movement", "undo"):
        return {}
    receipt = json_text.loads(row.receipt)
    return receipt if isinstance(receipt, dict) else {}


@attrs.frozen
class UndoPlan:
    """What it takes to undo a commit.

    Attributes:
        revision: The commit that is undone.
        root: The source of the commit that all this began with: undoing the undo of an
            import is about an import.
        changes: For each record what is stored, and what it becomes.
        conflicts: The records that later commits touched.
    """

    revision: int
    root: str
    changes: tuple[Change, ...]
    conflicts: tuple[Problem, ...]

    def operations(self) -> list[Operation]:
        """The operations that carry the plan out."""
        return [
            Delete(change.key) if change.after is None else Put(change.after)
            for change in self.changes
        ]

    def refuse_conflicts(self) -> None:
        """Refuse a plan that would overwrite what later commits wrote.

        Raises:
            UndoConflict: There are such commits; the problems name the records.
        """
        if self.conflicts:
            raise UndoConflict(
                f"Later commits touched {len(self.conflicts)} of the records of revision "
                f"{self.revision}. Undo those first, or force it.",
                problems=self.conflicts,
            )

    def receipt(self) -> str:
        """What the undo's commit remembers."""
        conflicts: list[Json] = [attrs.asdict(problem) for problem in self.conflicts]
        content: dict[str, Json] = {"revision": self.revision, "root": self.root}
        if conflicts:
            content["conflicts"] = conflicts
        return json_text.dumps({"undo": content})

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        return {
            "revision": self.revision,
            "changes": [change_to_json(change) for change in self.changes],
            "conflicts": [attrs.asdict(problem) for problem in self.conflicts],
        }


def read_undo(revision: int, commit: Commit) -> UndoPlan:
    """What an undo did, from its commit.

    Raises:
        IdempotencyMismatch: The commit is none of an undo.
    """
    content: Any = json_text.loads(commit.receipt or "null")
    if commit.source != "undo" or content is None:
        raise IdempotencyMismatch
    conflicts = tuple(Problem(**problem) for problem in content["undo"].get("conflicts", ()))
    return UndoPlan(revision, content["undo"]["root"], commit.changes, conflicts)


def plan_undo(state: State, revision: int) -> UndoPlan:
    """Plan to put every record of a commit back to what it was before.

    Raises:
        NotFound: There is no such commit.
        HistoryForgotten: What the commit changed was forgotten.
        InvalidInput: The commit changed nothing.
    """
    connection, tenant = state.connection, state.tenant
    commit = connection.execute(
        sa.select(commits).where(commits.c.tenant_id == tenant, commits.c.revision == revision)
    ).one_or_none()
    if commit is None:
        raise NotFound(f"There is no revision {revision}.")
    horizon = forgotten_through(connection, tenant)
    if revision <= horizon:
        raise HistoryForgotten.before(horizon)
    rows = connection.execute(
        sa.select(changes)
        .where(changes.c.tenant_id == tenant, changes.c.revision == revision)
        .order_by(changes.c.ordinal)
    ).all()
    if not rows:
        raise InvalidInput(
            f"Revision {revision} changed no record, so there is nothing to undo.",
            problems=[Problem("revision", "a commit that changed something")],
        )
    done = [_change(row) for row in rows]
    state.load(change.key for change in done)
    return UndoPlan(
        revision,
        _receipt(commit)["undo"]["root"] if commit.source == "undo" else commit.source,
        # The other way round: the last record that was written is put back first.
        tuple(Change(c.key, state.at(c.key), c.before) for c in reversed(done)),
        _conflicts(connection, tenant, revision, done),
    )


def _conflicts(
    connection: Connection, tenant: str, revision: int, done: list[Change]
) -> tuple[Problem, ...]:
    later, mine = changes.alias("later"), changes
    query = (
        sa.select(later.c.kind, later.c.record_key, sa.func.max(later.c.revision).label("at"))
        .join(
            mine,
            sa.and_(
                mine.c.tenant_id == later.c.tenant_id,
                mine.c.kind == later.c.kind,
                mine.c.record_key == later.c.record_key,
            ),
        )
        .where(
            later.c.tenant_id == tenant, later.c.revision > revision, mine.c.revision == revision
        )
        .group_by(later.c.kind, later.c.record_key)
        .subquery()
    )
    last = sa.select(
        query.c.kind, query.c.record_key, commits.c.revision, commits.c.actor, commits.c.source
    ).join(commits, sa.and_(commits.c.tenant_id == tenant, commits.c.revision == query.c.at))
    found = {(row.kind, row.record_key): row for row in connection.execute(last)}
    problems: list[Problem] = []
    for change, text in zip(done, change_rows(done), strict=True):
        row = found.get((text.kind, text.record_key))
        if row is not None:
            what = f"changed later, by revision {row.revision} ({row.actor}, {row.source})"
            problems.append(Problem(str(change.key), what))
    return tuple(problems)
