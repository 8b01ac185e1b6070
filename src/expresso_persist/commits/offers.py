"""Writes that clients offer again after the database lost them.

A failover to a replica that was behind, or an older copy in the database's place, takes
acknowledged commits away. Clients keep what was acknowledged, with the position (epoch,
revision, hash) at which it was, and offer it again under its Idempotency-Key.

* A write whose position is on this timeline survived: its first answer is given again.
* Any other is applied. The order of the lost timeline is kept: what was acknowledged after
  it, and was offered before it, stands.
* What adds commutes with everything. What sets a value never overwrites one that was set
  after the loss: that is a conflict, and the client shows it to people.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import ChangeRow, read_change
from expresso_persist.db.tables import changes as changes_table
from expresso_persist.db.tables import commits
from expresso_persist.documents.items import ALLOCATED, AVAILABLE, TOTAL
from expresso_persist.errors import InvalidInput, OfferConflict, Problem, TimelineLost
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import adjusted
from expresso_persist.model.records import Change, Head, Operation, Record, RecordKey

__all__ = ["Position", "Standing", "rebased", "survivor", "with_standing"]

_POSITION = re.compile(r"([^.\s]{1,256})\.([0-9]{1,18})\.([0-9a-f]{1,64})")
_ADDING = ("adjust", "transfer", "waste")
_SOURCES = ("api", "movement")
_KEYS_PER_QUERY = 200
_RECEIPT_DEPTH = 128
_COUNTED = frozenset({*TOTAL, "amount", ""})  # what a count sets; "" is a record that is a number


@attrs.frozen
class Position:
    """A commit by its place on a timeline: epoch, revision and beginning of the hash."""

    epoch: str
    revision: int
    prefix: str

    @classmethod
    def read(cls, text: str, name: str) -> Position:
        """Read ``<epoch>.<revision>.<hash>``, which a header called ``name`` carries.

        Raises:
            InvalidInput: It is none.
        """
        found = _POSITION.fullmatch(text)
        if found is None:
            raise InvalidInput(
                f"{name} is the cursor of an earlier answer.",
                problems=[Problem(name, "<epoch>.<revision>.<hash>")],
            )
        return cls(found[1], int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.epoch}.{self.revision}.{self.prefix}"


@attrs.frozen
class Standing:
    """What a client says about the timeline when it writes.

    Attributes:
        since: A position that the client knows. A database that does not have it refuses the
            write, so that the client offers first what that database lost.
        acknowledged: Where the write was acknowledged before, if it is offered again.
        adds: The write adds to numbers and sets nothing.
    """

    since: Position | None = None
    acknowledged: Position | None = None
    adds: bool = False


def survivor(
    connection: Connection, tenant: str, head: Head, standing: Standing
) -> sa.Row[Any] | None:
    """The commit of a write that is offered again, if this database still has it.

    Raises:
        TimelineLost: This database does not have the commit that the client builds on.
    """
    since, acknowledged = standing.since, standing.acknowledged
    if since is not None and not _covers(connection, tenant, head, since):
        raise TimelineLost(context={"cursor": head.cursor})
    if acknowledged is None:
        return None
    if acknowledged.epoch != head.epoch:
        raise TimelineLost(context={"cursor": head.cursor})
    return _at(connection, tenant, acknowledged)


def _covers(connection: Connection, tenant: str, head: Head, position: Position) -> bool:
    if position.epoch != head.epoch or position.revision > head.revision:
        return False
    if position.revision == head.revision:
        return not head.revision or head.hash.startswith(position.prefix)
    return not position.revision or _at(connection, tenant, position) is not None


def _at(connection: Connection, tenant: str, position: Position) -> sa.Row[Any] | None:
    row = connection.execute(
        sa.select(commits).where(
            commits.c.tenant_id == tenant, commits.c.revision == position.revision
        )
    ).one_or_none()
    return row if row is not None and row.hash.startswith(position.prefix) else None


def with_standing(
    receipt: str | None, standing: Standing | None, confirmed: Iterable[RecordKey] = ()
) -> str | None:
    """A commit's receipt, with what later offers have to know about it.

    Args:
        receipt: The receipt.
        standing: What the client says.
        confirmed: Records that the commit set to what they were.
    """
    added: dict[str, Json] = {}
    if standing is not None and standing.acknowledged is not None:
        added["acknowledged"] = str(standing.acknowledged)
    if standing is not None and standing.adds and (added or receipt is None):
        added["adds"] = True  # a movement says itself what it is
    confirms: list[Json] = [[key.kind, [*key.parts]] for key in confirmed]
    if confirms:
        added["confirms"] = confirms
    content = json_text.loads(receipt, max_depth=_RECEIPT_DEPTH) if added and receipt else {}
    if not added or not isinstance(content, dict):
        return receipt
    return json_text.dumps({**content, **added})


def rebased(
    connection: Connection,
    tenant: str,
    standing: Standing,
    operations: Sequence[Operation],
    changes: Sequence[Change],
    *,
    counts: bool,
) -> list[Change]:
    """The changes of an offered write, below what was done after it.

    Args:
        connection: The transaction, which holds the tenant's lock.
        tenant: Whose data it is.
        standing: What the client says; ``since`` is the newest position that its timeline
            and this one are known to share.
        operations: The write's operations.
        changes: What they would change now.
        counts: The write sets the numbers that later additions changed, even if it would
            change nothing now.

    Raises:
        OfferConflict: Somebody set after the loss what this write sets.
    """
    assert standing.acknowledged is not None
    found = {change.key: change for change in changes}
    touched = dict.fromkeys(operation.key for operation in operations)
    strict = {op.key for op in operations if op.expected_revision is not None}
    since = standing.since.revision if standing.since is not None else 0
    others = _others(connection, tenant, since, touched)
    result: list[Change] = []
    for key in touched:
        after = [o for o in others.get(key, ()) if o.place >= standing.acknowledged.revision]
        change = found.get(key)
        for other in after:
            if other.fresh and (key in strict or _overwrites(standing, change, other)):
                raise _conflict(key, other)
            if other.confirms and not other.fresh and not other.counts and change is not None:
                raise _conflict(key, other)  # whether it was about the same members is unknown
        if change is None and counts and after and not standing.adds:
            change = _unchanged(key, after[-1].change.after)
        if change is None:
            continue
        below = _below(change, [o for o in after if not (o.fresh and standing.adds)], standing.adds)
        if below.before != below.after:
            result.append(below)
    return result


@attrs.frozen
class _Other:
    """A commit since the common position, and what it did to one record.

    Attributes:
        revision: Its revision here.
        actor: Who did it.
        place: The revision of the lost timeline at which it was acknowledged; infinite for a
            commit that was first made here.
        adds: It added to numbers and set nothing.
        change: What it did.
        confirms: It set what was stored already, and so changed nothing.
        counts: It was a count; of another write that confirms, nothing tells which members it
            was about.
    """

    revision: int
    actor: str
    place: float
    adds: bool
    change: Change
    confirms: bool = False
    counts: bool = False

    @property
    def fresh(self) -> bool:
        return self.place == float("inf")

    def touches(self, name: str) -> bool:
        """Whether it changed a member of the record; a record made or removed is touched whole."""
        if self.confirms:
            return name in _COUNTED
        before, after = self.change.before, self.change.after
        if before is None or after is None:
            return True
        return name in _differing(_members(before), _members(after))

    def added(self, name: str) -> float | None:
        """What it added to a member; None if it set it."""
        before, after = self.change.before, self.change.after
        if not self.adds or after is None:
            return None
        known = {} if before is None else _members(before)
        old = _number(known, name) if name in known else 0  # what an addition made began with 0
        new = _number(_members(after), name)
        return None if old is None or new is None else adjusted(new, -old)


def _others(
    connection: Connection, tenant: str, since: int, keys: Collection[RecordKey]
) -> dict[RecordKey, list[_Other]]:
    texts: dict[str, list[str]] = {}
    for kind, parts in keys:
        texts.setdefault(kind, []).append(json_text.dumps(list(parts)))
    found: dict[RecordKey, list[_Other]] = {}
    for kind, all_texts in texts.items():
        for start in range(0, len(all_texts), _KEYS_PER_QUERY):
            for row in connection.execute(
                sa.select(changes_table, commits.c.actor, commits.c.source, commits.c.receipt)
                .join(
                    commits,
                    sa.and_(
                        commits.c.tenant_id == changes_table.c.tenant_id,
                        commits.c.revision == changes_table.c.revision,
                    ),
                )
                .where(
                    changes_table.c.tenant_id == tenant,
                    changes_table.c.kind == kind,
                    changes_table.c.record_key.in_(all_texts[start : start + _KEYS_PER_QUERY]),
                    changes_table.c.revision > since,
                )
                .order_by(changes_table.c.revision)
            ):
                change = read_change(ChangeRow(row.kind, row.record_key, row.before, row.after))
                found.setdefault(change.key, []).append(_other(row, change))
    for row in connection.execute(
        sa.select(commits.c.revision, commits.c.actor, commits.c.source, commits.c.receipt)
        .where(
            commits.c.tenant_id == tenant,
            commits.c.revision > since,
            commits.c.source.in_(_SOURCES),
            commits.c.receipt.contains('"confirms":'),
        )
        .order_by(commits.c.revision)
    ):
        for kind, parts in _receipt(row).get("confirms", []):
            key = RecordKey(kind, tuple(parts))
            other = _other(row, Change(key, None, None))
            if key in keys and not other.adds:
                found.setdefault(key, []).append(attrs.evolve(other, confirms=True))
    return {key: sorted(each, key=lambda other: other.revision) for key, each in found.items()}


def _receipt(row: sa.Row[Any]) -> dict[str, Any]:
    """What a commit says about itself; a host's own receipt may be any JSON."""
    if row.receipt is None or row.source not in _SOURCES:
        return {}
    content = json_text.loads(row.receipt, max_depth=_RECEIPT_DEPTH)
    return content if isinstance(content, dict) else {}


def _other(row: sa.Row[Any], change: Change) -> _Other:
    receipt = _receipt(row)
    acknowledged, movement = receipt.get("acknowledged"), receipt.get("movement")
    kind = movement.get("type") if isinstance(movement, dict) else None
    place = float("inf")
    if isinstance(acknowledged, str):
        place = Position.read(acknowledged, "acknowledged").revision
    adds = receipt.get("adds") is True or kind in _ADDING
    return _Other(row.revision, row.actor, place, adds, change, counts=kind == "count")


def _overwrites(standing: Standing, change: Change | None, other: _Other) -> bool:
    """Whether an offered write would overwrite a value that was set after the loss."""
    if standing.adds or change is None:
        return False
    if other.confirms or change.before is None or change.after is None:
        return True
    names = _differing(_members(change.before), _members(change.after))
    return any(other.touches(name) and other.added(name) is None for name in names)


def _below(change: Change, others: Sequence[_Other], adds: bool) -> Change:
    """A change as it is once those have come after it."""
    if not others:
        return change
    if change.before is None or change.after is None:
        return Change(change.key, change.before, change.before)
    before, after = _members(change.before), _members(change.after)
    names = _differing(before, after)
    if before == after:  # a count of what is there now
        names = [name for name in after if any(other.touches(name) for other in others)]
    rest = {*AVAILABLE} & {*names} if _is_stock(change) else set()
    for name in names:
        if name in rest:
            continue  # what the other two leave, below
        parts = [other.added(name) for other in others if other.touches(name)]
        number = _number(after, name)
        if None in parts:  # set later: that stands
            after.pop(name, None)
            if name in before:
                after[name] = before[name]
        elif not adds and number is not None:
            for part in parts:
                number = adjusted(number, part or 0)
            after[name] = number
    for name in rest:
        total, allocated = (_first_number(after, which) for which in (TOTAL, ALLOCATED))
        if total is not None:
            after[name] = adjusted(total, -(allocated or 0))
    data: Json = after if isinstance(change.after.data, dict) else after[""]
    record = attrs.evolve(change.after, text=json_text.dumps(data), raw=None)
    same = change.before.data == data
    return Change(change.key, change.before, change.before if same else record)


def _is_stock(change: Change) -> bool:
    return change.key.kind == "event_stock"


def _first_number(members: dict[str, Any], names: Sequence[str]) -> int | float | None:
    return next((found for name in names if (found := _number(members, name)) is not None), None)


def _unchanged(key: RecordKey, record: Record | None) -> Change | None:
    return None if record is None else Change(key, record, record)


def _members(record: Record) -> dict[str, Any]:
    data = record.data
    return dict(data) if isinstance(data, dict) else {"": data}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    gone = object()
    names = {**before, **after}
    return [name for name in names if before.get(name, gone) != after.get(name, gone)]


def _number(members: dict[str, Any], name: str) -> int | float | None:
    value = members.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _conflict(key: RecordKey, other: _Other) -> OfferConflict:
    record = other.change.after
    return OfferConflict(
        f"The database lost this write after it was acknowledged, and {key} was changed since, "
        f"by revision {other.revision} ({other.actor}). Compare the two: send it again, or "
        "discard it.",
        context={
            "kind": key.kind,
            "key": list(key.parts),
            "revision": other.revision,
            "value": None if record is None else record.data,
        },
    )
