"""What an import did, or would do: every key of the dump in exactly one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from expresso_persist.model.plan import Counts
from expresso_persist.model.records import RecordKey

__all__ = [
    "OUTCOMES",
    "AlikeItem",
    "Conflict",
    "Holding",
    "KeyOutcome",
    "KeyReceipt",
    "Likeness",
    "Lookalikes",
    "Match",
    "Receipt",
    "Removal",
]

KeyOutcome: TypeAlias = Literal["stored", "unchanged", "kept", "refused", "skipped", "quarantined"]
OUTCOMES: tuple[KeyOutcome, ...] = (
    "stored",
    "unchanged",
    "kept",
    "refused",
    "skipped",
    "quarantined",
)
Cause: TypeAlias = Literal["different", "empty", "text", "shape", "ambiguous"]
Resolution: TypeAlias = Literal["incoming", "existing", "both"]
Likeness: TypeAlias = Literal["same_name", "other_category", "same_id"]
MAX_LISTED = 1_000
MAX_ALIKE = 200


@attrs.frozen
class KeyReceipt:
    """What became of one key.

    Attributes:
        key: The localStorage key.
        outcome: Its class. ``kept``: the dump's value was not taken, what was stored stays.
        reason: Why, where the class does not say it all.
        layout: The shape in which the document was recognised.
        records: Records that it consists of in the database.
        removed_secrets: Paths of members that were taken out as secrets.
        exact: The stored document is now the dump's, and not a union with what was there.
        kept: How many of the dump's values were not taken; a document of class ``stored``
            may have some, the conflicts list them.
    """

    key: str
    outcome: KeyOutcome
    reason: str | None = None
    layout: str | None = None
    records: int = 0
    removed_secrets: tuple[str, ...] = ()
    exact: bool = False
    kept: int = 0

    def to_json(self) -> dict[str, Any]:
        """The receipt's line as a JSON object."""
        return {
            "key": self.key,
            "class": self.outcome,
            "reason": self.reason,
            "layout": self.layout,
            "records": self.records,
            "removed_secrets": list(self.removed_secrets),
            "exact": self.exact,
            "kept": self.kept,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KeyReceipt:
        """Read what :meth:`to_json` wrote, also an earlier version's."""
        return cls(
            value["key"],
            value["class"],
            value["reason"],
            value["layout"],
            value["records"],
            tuple(value["removed_secrets"]),
            value.get("exact", False),
            value.get("kept", 0),
        )


@attrs.frozen
class Conflict:
    """A value that the database and the dump both have, and that is not the same.

    Attributes:
        kind: Kind of the record.
        key: Its key.
        document: The localStorage key.
        resolution: Whose value stands now; ``both`` where two items were kept apart.
        existing: What is stored.
        incoming: What the dump has.
        path: Members on the way to the value inside the record; empty for all of it.
        cause: ``different`` values; an ``empty`` one, which never takes the place of a full
            one; the same value as another ``text`` (order, spacing); another ``shape``; or a
            name that is ``ambiguous``.
    """

    kind: str
    key: tuple[str, ...]
    document: str
    resolution: Resolution
    existing: Any
    incoming: Any
    path: tuple[str, ...] = ()
    cause: Cause = "different"

    def to_json(self) -> dict[str, Any]:
        """The conflict as a JSON object."""
        return {**attrs.asdict(self, recurse=False), "key": list(self.key), "path": list(self.path)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Conflict:
        """Read what :meth:`to_json` wrote, also an earlier version's."""
        return cls(
            value["kind"],
            tuple(value["key"]),
            value["document"],
            value["resolution"],
            value["existing"],
            value["incoming"],
            tuple(value.get("path", ())),
            value.get("cause", "different"),
        )


@attrs.frozen
class Match:
    """An item of the dump that is stored under another name."""

    document: str
    incoming: tuple[str, ...]
    stored: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The match as a JSON object."""
        return {
            "document": self.document,
            "incoming": list(self.incoming),
            "stored": list(self.stored),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Match:
        """Read what :meth:`to_json` wrote."""
        return cls(value["document"], tuple(value["incoming"]), tuple(value["stored"]))


@attrs.frozen
class Holding:
    """A number that hangs on an item: stock, an allotment, what a station has left."""

    kind: str
    key: tuple[str, ...]
    quantity: float | None

    @property
    def record(self) -> RecordKey:
        """The record that holds it."""
        return RecordKey(self.kind, self.key)

    def to_json(self) -> dict[str, Any]:
        """The number as a JSON object."""
        return {"kind": self.kind, "key": list(self.key), "quantity": self.quantity}


@attrs.frozen
class AlikeItem:
    """One of several items that look like one thing.

    Attributes:
        key: Its address.
        name: Its name.
        side: Who has it: the database as it was (``stored``), the ``dump``, or ``both``.
        holdings: The first numbers that hang on it.
        holding_count: How many there are.
    """

    key: tuple[str, ...]
    name: str
    side: str
    holdings: tuple[Holding, ...]
    holding_count: int

    def to_json(self) -> dict[str, Any]:
        """The item as a JSON object."""
        return {
            "key": list(self.key),
            "name": self.name,
            "side": self.side,
            "holdings": [holding.to_json() for holding in self.holdings],
            "holding_count": self.holding_count,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AlikeItem:
        """Read what :meth:`to_json` wrote."""
        holdings = (Holding(h["kind"], tuple(h["key"]), h["quantity"]) for h in value["holdings"])
        return cls(
            tuple(value["key"]),
            value["name"],
            value["side"],
            tuple(holdings),
            value["holding_count"],
        )


@attrs.frozen
class Lookalikes:
    """Items that look like one thing; a person decides.

    Attributes:
        cause: ``same_name``: one name (but for case, spaces and dashes) and several ids,
            kept apart, with the numbers that stand after the import; ``other_category``: the
            same, each in a category of its own; ``same_id``: one id, united as ids are,
            though the names differ, with the numbers of either side.
        document: The localStorage key.
        items: The first of them.
        item_count: How many there are.
    """

    cause: Likeness
    document: str
    items: tuple[AlikeItem, ...]
    item_count: int = attrs.Factory(lambda self: len(self.items), takes_self=True)

    def to_json(self) -> dict[str, Any]:
        """The items as a JSON object."""
        return {
            "cause": self.cause,
            "document": self.document,
            "items": [item.to_json() for item in self.items],
            "item_count": self.item_count,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lookalikes:
        """Read what :meth:`to_json` wrote."""
        items = tuple(AlikeItem.from_json(item) for item in value["items"])
        return cls(value["cause"], value["document"], items, value["item_count"])


@attrs.frozen
class Removal:
    """A stored record that the import removes."""

    kind: str
    key: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The removal as a JSON object."""
        return {"kind": self.kind, "key": list(self.key), "reason": self.reason}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Removal:
        """Read what :meth:`to_json` wrote."""
        return cls(value["kind"], tuple(value["key"]), value["reason"])


@attrs.frozen
class Receipt:
    """What an import did, or (``dry_run``) would do.

    ``keys`` has every key of the dump once, so the totals of the classes add up to the
    number of keys. ``committed`` says whether the import changed anything; one that has an
    idempotency key is remembered either way. ``safety_backup_id`` names the backup that was
    made of the state before, if the import changed or removed something stored.

    The lists of conflicts, matches and removals hold the first 1,000 of each, that of
    lookalikes the first 200, in a receipt that comes from JSON; the counts are of all.
    """

    dry_run: bool
    mode: str
    on_conflict: str
    origin: str | None
    device_id: str
    committed: bool
    revision: int
    keys: tuple[KeyReceipt, ...]
    records: Counts
    by_kind: Mapping[str, Counts]
    conflicts: tuple[Conflict, ...] = ()
    matched: tuple[Match, ...] = ()
    alike: tuple[Lookalikes, ...] = ()
    removals: tuple[Removal, ...] = ()
    conflict_count: int = attrs.Factory(lambda self: len(self.conflicts), takes_self=True)
    matched_count: int = attrs.Factory(lambda self: len(self.matched), takes_self=True)
    alike_count: int = attrs.Factory(lambda self: len(self.alike), takes_self=True)
    removal_count: int = attrs.Factory(lambda self: len(self.removals), takes_self=True)
    safety_backup_id: str | None = None
    replayed: bool = False

    @property
    def totals(self) -> dict[str, int]:
        """How many keys there are, in all and per class."""
        totals: dict[str, int] = {"keys": len(self.keys), **dict.fromkeys(OUTCOMES, 0)}
        for key in self.keys:
            totals[key.outcome] += 1
        return totals

    def to_json(self) -> dict[str, Any]:
        """The receipt as a JSON object; long lists are cut, their counts are not."""
        return {
            "dry_run": self.dry_run,
            "mode": self.mode,
            "on_conflict": self.on_conflict,
            "origin": self.origin,
            "device_id": self.device_id,
            "committed": self.committed,
            "revision": self.revision,
            "totals": self.totals,
            "records": self.records.to_json(),
            "by_kind": {kind: counts.to_json() for kind, counts in self.by_kind.items()},
            "keys": [key.to_json() for key in self.keys],
            "conflict_count": self.conflict_count,
            "conflicts": [conflict.to_json() for conflict in self.conflicts[:MAX_LISTED]],
            "matched_count": self.matched_count,
            "matched": [match.to_json() for match in self.matched[:MAX_LISTED]],
            "alike_count": self.alike_count,
            "alike": [alike.to_json() for alike in self.alike[:MAX_ALIKE]],
            "removal_count": self.removal_count,
            "removals": [removal.to_json() for removal in self.removals[:MAX_LISTED]],
            "safety_backup_id": self.safety_backup_id,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """Read what :meth:`to_json` wrote, also an earlier version's."""
        return cls(
            dry_run=value["dry_run"],
            mode=value["mode"],
            on_conflict=value["on_conflict"],
            origin=value["origin"],
            device_id=value["device_id"],
            committed=value["committed"],
            revision=value["revision"],
            keys=tuple(KeyReceipt.from_json(key) for key in value["keys"]),
            records=Counts(**value["records"]),
            by_kind={kind: Counts(**counts) for kind, counts in value["by_kind"].items()},
            conflicts=tuple(Conflict.from_json(one) for one in value["conflicts"]),
            matched=tuple(Match.from_json(one) for one in value.get("matched", ())),
            alike=tuple(Lookalikes.from_json(one) for one in value.get("alike", ())),
            removals=tuple(Removal.from_json(one) for one in value["removals"]),
            conflict_count=value["conflict_count"],
            matched_count=value.get("matched_count", 0),
            alike_count=value.get("alike_count", 0),
            removal_count=value["removal_count"],
            safety_backup_id=value.get("safety_backup_id"),
        )
