"""Writes that clients offer again after the database lost them.

A failover to a replica that was behind, or an older copy in the database's place, takes
acknowledged commits away. Clients keep what was acknowledged, with the position (epoch,
revision, hash) at which it was, and offer it again under its Idempotency-Key.

* A write whose position is on this timeline survived: its first answer is given again.
* Any other is applied where it was: before all that is first done after the loss, and among
  what was lost in the order of the lost timeline. What adds is moved by nothing but a value
  that was set later, which stands.
* What sets a value never overwrites one that was set after the loss. That is a conflict, and
  the client shows it to people; so is everything that cannot be put together again for certain.

Where the two timelines part lies between the newest position that the client shares with this
database and the oldest that it knows to be lost. A commit between the two may have survived,
and then came before the write that is offered; or it was made after the loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.commits.hash_chain import ChangeRow, read_change
from expresso_persist.commits.offer_rules import (
    COUNTED,
    SOURCES,
    WHOLE,
    Offer,
    Other,
    Position,
    Standing,
    meant,
    members,
    sets_of,
)
from expresso_persist.commits.state import forgotten_through
from expresso_persist.db.tables import changes as changes_table
from expresso_persist.db.tables import commits
from expresso_persist.errors import TimelineLost
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Adjust, Change, Head, Operation, Record, RecordKey

__all__ = ["Position", "Standing", "rebased", "survivor", "with_standing"]

_ADDING = ("adjust", "transfer", "waste")
_KEYS_PER_QUERY = 200
_RECEIPT_DEPTH = 128


def survivor(
    connection: Connection, tenant: str, head: Head, key: str | None, standing: Standing
) -> sa.Row[Any] | None:
    """The commit of a write that is offered again, if this database has it.

    It survived, or was offered before, perhaps with another person's token.

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
    return (
        _at(connection, tenant, acknowledged)
        or connection.execute(
            sa.select(commits).where(
                commits.c.tenant_id == tenant,
                commits.c.idempotency_key == key,
                commits.c.source.in_(SOURCES),
                commits.c.revision > (0 if since is None else since.revision),
                commits.c.receipt.contains(f'"acknowledged":"{acknowledged}"', autoescape=True),
            )
        ).first()
    )


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
    receipt: str | None,
    standing: Standing | None,
    operations: Sequence[Operation],
    changes: Sequence[Change],
    stored: Mapping[RecordKey, Record | None],
    *,
    movement: bool = False,
) -> str | None:
    """A commit's receipt, with what later offers have to know about it.

    Args:
        receipt: The receipt; a movement's says itself what it is.
        standing: What the client says.
        operations: What was asked.
        changes: What that changed.
        stored: The records as they were before.
        movement: It is a stock movement.
    """
    added: dict[str, Json] = {}
    if standing is not None and standing.acknowledged is not None:
        for name in ("acknowledged", "since", "lost"):
            position = getattr(standing, name)
            if position is not None:
                added[name] = str(position)
    if added or receipt is None:
        adds = _adding(operations, standing)
        named: list[Json] = [
            [k.kind, [*k.parts], [*sorted(names)]] for k, names in adds.items() if names
        ]
        whole = bool(adds) and all(names is None for names in adds.values())
        named += [[k.kind, [*k.parts]] for k, names in adds.items() if names is None]
        if named:
            added["adds"] = whole or named
    confirms = _confirmed(operations, changes, stored, movement=movement)
    if confirms:
        added["confirms"] = confirms
    content = json_text.loads(receipt, max_depth=_RECEIPT_DEPTH) if added and receipt else {}
    if not added or not isinstance(content, dict):
        return receipt
    return json_text.dumps({**content, **added})


def _adding(
    operations: Sequence[Operation], standing: Standing | None
) -> dict[RecordKey, frozenset[str] | None]:
    """The members of each record that operations add to and do not set; None for all."""
    result: dict[RecordKey, frozenset[str] | None] = {}
    for key in dict.fromkeys(operation.key for operation in operations):
        mine = [operation for operation in operations if operation.key == key]
        sets = [sets_of(operation) for operation in mine]
        if (standing is not None and standing.adds) or all(isinstance(op, Adjust) for op in mine):
            result[key] = None
        elif None in sets:
            result[key] = frozenset()
        else:
            fields = frozenset(op.field for op in mine if isinstance(op, Adjust))
            result[key] = fields.difference(*(names or () for names in sets))
    return result


def _confirmed(
    operations: Sequence[Operation],
    changes: Sequence[Change],
    stored: Mapping[RecordKey, Record | None],
    *,
    movement: bool,
) -> list[Json]:
    """What is set to what it is: no change, and still said by somebody.

    ``[kind, parts]`` for a whole record, or with the members that were named.
    """
    after = {**stored, **{change.key: change.after for change in changes}}
    named: dict[RecordKey, set[str] | None] = {}
    for operation in operations:
        key, sets = operation.key, sets_of(operation)
        known = named.setdefault(key, set())
        named[key] = None if known is None or sets is None else known | sets
    result: list[Json] = []
    for key, names in named.items():
        before, now = stored.get(key), after.get(key)
        if before is None or now is None:
            continue
        old, new = members(before), members(now)
        apart = key.kind not in WHOLE and not movement  # otherwise the change says as much
        if names is None and (before.text == now.text or apart):
            result.append([key.kind, [*key.parts]])
        elif names is not None:
            same = sorted(n for n in names if n in old and n in new and old[n] == new[n])
            if same:
                result.append([key.kind, [*key.parts], [*same]])
    return result


def rebased(
    connection: Connection,
    tenant: str,
    standing: Standing,
    operations: Sequence[Operation],
    changes: Sequence[Change],
    stored: Mapping[RecordKey, Record | None],
    *,
    movement: bool,
) -> list[Change]:
    """The changes of an offered write, below what was done after it.

    Args:
        connection: The transaction, which holds the tenant's lock.
        tenant: Whose data it is.
        standing: What the client says; ``since`` is the newest position that its timeline
            and this one are known to share.
        operations: The write's operations.
        changes: What they would change now.
        stored: The records as they are now.
        movement: It is a stock movement: its operations put whole records, and mean numbers.

    Raises:
        OfferConflict: Somebody set after the loss what this write sets, or what it comes to
            cannot be known.
    """
    acknowledged = standing.acknowledged
    assert acknowledged is not None
    found = {change.key: change for change in changes}
    touched = dict.fromkeys(operation.key for operation in operations)
    low, high = _fork(connection, tenant, standing, acknowledged)
    others = _others(connection, tenant, low, touched)
    adding = _adding(operations, standing)
    result: list[Change] = []
    for key in touched:
        mine = [op for op in operations if op.key == key]
        record = stored.get(key)
        change = found.get(key, Change(key, record, record))
        offer = Offer(
            change,
            meant(mine, change, movement=movement, adds=adding[key] is None),
            adding[key],
            movement=movement,
            strict=any(op.expected_revision is not None for op in mine),
        )
        after = offer.after(others.get(key, ()), standing, high)
        below = offer.below(after)
        if below.before != below.after:
            result.append(below)
    return result


def _fork(
    connection: Connection, tenant: str, standing: Standing, acknowledged: Position
) -> tuple[int, int]:
    """Where the timelines part: not before the first revision, and before the second."""
    low, high = standing.since, acknowledged.revision
    lost = standing.lost
    if lost is not None and lost.epoch == acknowledged.epoch:
        if _at(connection, tenant, lost) is not None:
            low = lost  # it is not lost, or here again
        else:
            high = min(high, lost.revision)
    shared = 0 if low is None else low.revision
    return (shared if shared < high else 0), high  # otherwise it is of another timeline


def _others(
    connection: Connection, tenant: str, since: int, keys: Collection[RecordKey]
) -> dict[RecordKey, list[Other]]:
    texts: dict[str, list[str]] = {}
    for kind, parts in keys:
        texts.setdefault(kind, []).append(json_text.dumps(list(parts)))
    forgotten = forgotten_through(connection, tenant)
    found: dict[RecordKey, list[Other]] = {}
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
                other = _other(row, change)
                if row.revision <= forgotten:  # what is left of it is not what it did
                    nothing = Change(change.key, None, None)
                    other = attrs.evolve(other, change=nothing, adds=False, adding=frozenset())
                found.setdefault(change.key, []).append(other)
    for row in connection.execute(
        sa.select(commits.c.revision, commits.c.actor, commits.c.source, commits.c.receipt)
        .where(
            commits.c.tenant_id == tenant,
            commits.c.revision > since,
            commits.c.source.in_(SOURCES),
            commits.c.receipt.contains('"confirms":'),
        )
        .order_by(commits.c.revision)
    ):
        for key, names in _listed(_receipt(row).get("confirms")):
            other = _other(row, Change(key, None, None))
            if key not in keys or other.adds:
                continue
            said = COUNTED if other.moves else names
            found.setdefault(key, []).append(attrs.evolve(other, confirms=said))
    return {key: sorted(each, key=lambda other: other.revision) for key, each in found.items()}


def _receipt(row: sa.Row[Any]) -> dict[str, Any]:
    """What a commit says about itself; a host's own receipt may be any JSON."""
    if row.receipt is None or row.source not in SOURCES:
        return {}
    content = json_text.loads(row.receipt, max_depth=_RECEIPT_DEPTH)
    return content if isinstance(content, dict) else {}


def _other(row: sa.Row[Any], change: Change) -> Other:
    receipt = _receipt(row)
    movement, adds = receipt.get("movement"), receipt.get("adds")
    kind = movement.get("type") if isinstance(movement, dict) else None
    mine = [names for key, names in _listed(adds) if key == change.key]
    return Other(
        row.revision,
        row.actor,
        adds is True or kind in _ADDING or None in mine,
        change,
        adding=next((names for names in mine if names), frozenset()),
        place=_position(receipt, "acknowledged"),
        since=_position(receipt, "since"),
        lost=_position(receipt, "lost"),
        source=row.source,
        moves=isinstance(kind, str),
    )


def _listed(entries: Any) -> Iterator[tuple[RecordKey, frozenset[str] | None]]:
    """``[kind, parts]`` or ``[kind, parts, names]``, of a receipt."""
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case [str(kind), [*parts]]:
                yield RecordKey(kind, tuple(map(str, parts))), None
            case [str(kind), [*parts], [*names]]:
                yield RecordKey(kind, tuple(map(str, parts))), frozenset(map(str, names))


def _position(receipt: dict[str, Any], name: str) -> Position | None:
    text = receipt.get(name)
    return Position.read(text, name) if isinstance(text, str) else None
