"""What an import did, or would do: every key of the dump in exactly one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from expresso_persist.plan import Counts

__all__ = ["Conflict", "KeyOutcome", "KeyReceipt", "Receipt", "Removal"]

KeyOutcome: TypeAlias = Literal["stored", "unchanged", "refused", "skipped", "quarantined"]
OUTCOMES: tuple[KeyOutcome, ...] = ("stored", "unchanged", "refused", "skipped", "quarantined")
MAX_LISTED = 1_000


@attrs.frozen
class KeyReceipt:
    """What became of one key.

    Attributes:
        key: The localStorage key.
        outcome: Its class.
        reason: Why, where the class does not say it all.
        layout: The shape in which the document was recognised.
        records: Records that it consists of in the database.
        removed_secrets: Paths of members that were taken out as secrets.
        exact: The stored document is now the dump's, and not a union with what was there.
    """

    key: str
    outcome: KeyOutcome
    reason: str | None = None
    layout: str | None = None
    records: int = 0
    removed_secrets: tuple[str, ...] = ()
    exact: bool = False

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
        }


@attrs.frozen
class Conflict:
    """A record that the database and the dump both have, with different values."""

    kind: str
    key: tuple[str, ...]
    document: str
    resolution: Literal["incoming", "existing"]
    existing: Any
    incoming: Any


@attrs.frozen
class Removal:
    """A stored record that the import removes."""

    kind: str
    key: tuple[str, ...]
    reason: str


@attrs.frozen
class Receipt:
    """What an import did, or (``dry_run``) would do.

    ``keys`` has every key of the dump once, so the totals of the five classes add up to
    the number of keys.
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
    removals: tuple[Removal, ...] = ()
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
            "conflict_count": len(self.conflicts),
            "conflicts": [
                {
                    "kind": conflict.kind,
                    "key": list(conflict.key),
                    "document": conflict.document,
                    "resolution": conflict.resolution,
                    "existing": conflict.existing,
                    "incoming": conflict.incoming,
                }
                for conflict in self.conflicts[:MAX_LISTED]
            ],
            "removal_count": len(self.removals),
            "removals": [
                {"kind": removal.kind, "key": list(removal.key), "reason": removal.reason}
                for removal in self.removals[:MAX_LISTED]
            ],
        }
