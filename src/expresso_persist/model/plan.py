"""The difference between two states, as something to look at before it is done.

Pure: no database, no clock. An import, a restore and an undo all diff what is stored
against what is wanted and commit the operations of the plan.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from expresso_persist.model.records import Delete, Operation, Put, Record

__all__ = ["Counts", "Plan", "diff"]


@attrs.frozen
class Counts:
    """How many records a plan adds, changes, removes and leaves alone."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def to_json(self) -> dict[str, int]:
        """The counts as a JSON object."""
        return attrs.asdict(self)


@attrs.frozen
class Plan:
    """What has to happen so that the stored state becomes the wanted one.

    Attributes:
        added: Records that are not stored yet.
        changed: Pairs of the stored and the wanted record where they differ.
        removed: Stored records that are not wanted.
        unchanged: Stored records that are wanted as they are.
    """

    added: tuple[Record, ...] = ()
    changed: tuple[tuple[Record, Record], ...] = ()
    removed: tuple[Record, ...] = ()
    unchanged: tuple[Record, ...] = ()

    @property
    def empty(self) -> bool:
        """True when nothing has to happen."""
        return not (self.added or self.changed or self.removed)

    @property
    def counts(self) -> Counts:
        """Totals over all kinds."""
        return Counts(len(self.added), len(self.changed), len(self.removed), len(self.unchanged))

    def counts_by_kind(self) -> dict[str, Counts]:
        """Totals per kind of record, for the kinds that occur."""
        tally: dict[str, dict[str, int]] = {}
        for name, records in (
            ("added", self.added),
            ("changed", [after for _, after in self.changed]),
            ("removed", self.removed),
            ("unchanged", self.unchanged),
        ):
            for record in records:
                of_kind = tally.setdefault(record.kind, {})
                of_kind[name] = of_kind.get(name, 0) + 1
        return {kind: Counts(**tally[kind]) for kind in sorted(tally)}

    def operations(self) -> list[Operation]:
        """The operations that carry the plan out, removals first."""
        return [
            *(Delete(record.key) for record in self.removed),
            *(Put(record) for record in self.added),
            *(Put(after) for _, after in self.changed),
        ]


def diff(current: Iterable[Record], wanted: Iterable[Record]) -> Plan:
    """Compare two states.

    Args:
        current: The records that are stored.
        wanted: The records that should be stored, and no others.

    Returns:
        The plan; its tuples follow the order of ``wanted``, removals that of ``current``.
    """
    before = {record.key: record for record in current}
    added: list[Record] = []
    changed: list[tuple[Record, Record]] = []
    unchanged: list[Record] = []
    for record in wanted:
        stored = before.pop(record.key, None)
        if stored is None:
            added.append(record)
        elif stored == record:
            unchanged.append(record)
        else:
            changed.append((stored, record))
    return Plan(tuple(added), tuple(changed), tuple(before.values()), tuple(unchanged))
