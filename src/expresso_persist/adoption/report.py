"""What an adoption did, or would do: every row of the old tables in exactly one class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from expresso_persist.adoption.legacy import BACKUPS

__all__ = ["Adopted", "Report", "TableReport"]

_MOST_LISTED = 20


@attrs.frozen
class TableReport:
    """One old table.

    Attributes:
        name: Its name.
        kept_as: Its name afterwards.
        rows: How many rows it has.
        carried: How many of them became records, or backups.
        quarantined: Rows that were kept aside, with the reasons. Of backups: those that
            stay in the old table alone.
        refused: Places of rows that are secrets.
        removed: Places of secrets that were taken out of what was carried over.
        notes: What a reader should know besides, a sentence each.
    """

    name: str
    kept_as: str
    rows: int = 0
    carried: int = 0
    quarantined: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def sentences(self, *, dry_run: bool) -> Iterator[str]:
        """The table in sentences."""
        verb = "Would carry" if dry_run else "Carried"
        backups = self.name == BACKUPS
        what = "rows of data_backups over as backups" if backups else f"rows of {self.name} over"
        yield f"{verb} {self.carried} of {self.rows} {what}."
        if self.quarantined:
            share = f"{len(self.quarantined)} of {self.rows} rows of {self.name}"
            if backups:
                verb = "Would leave" if dry_run else "Left"
                done = f"{verb} {share} in {self.kept_as} alone, which cannot be read as backups"
            else:
                verb = "Would quarantine" if dry_run else "Quarantined"
                done = f"{verb} {share}, which break a rule"
            yield f"{done}: {_list(self.quarantined)}."
        for places in (self.refused, self.removed):
            if places:
                verb = "are not carried" if dry_run else "were not carried"
                yield (
                    f"Secrets {verb} over: {_list(list(dict.fromkeys(places)))}. They still are "
                    f"in {self.kept_as}; drop it when you no longer need it."
                )
        yield from self.notes

    def to_json(self) -> dict[str, Any]:
        """The table as a JSON object; never with a value."""
        return attrs.asdict(self)


@attrs.frozen
class Adopted:
    """The old tables, one after the other.

    Attributes:
        tables: What became of each.
        time_zone: In which zone their times were read.
    """

    tables: tuple[TableReport, ...]
    time_zone: str

    @property
    def needs_a_look(self) -> bool:
        """Whether some rows were not carried over and are no secrets either."""
        return any(table.quarantined for table in self.tables)

    def sentences(self, *, dry_run: bool) -> list[str]:
        """All of it in sentences."""
        verb = "would be" if dry_run else "were"
        times = (
            f"Times of the old tables {verb} read as {self.time_zone}. Their ids, authors and "
            "times of change stay in the legacy tables."
        )
        return [
            *(line for table in self.tables for line in table.sentences(dry_run=dry_run)),
            times,
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "tables": [table.to_json() for table in self.tables],
            "time_zone": self.time_zone,
        }


@attrs.frozen
class Report:
    """What was done, or would be.

    Attributes:
        steps: A sentence each; none when there was nothing to do.
        adopted: The old tables, if there were any.
        created: There were no tables of ours before.
    """

    steps: tuple[str, ...] = ()
    adopted: Adopted | None = None
    created: bool = False


def _list(items: Sequence[str]) -> str:
    more = len(items) - _MOST_LISTED
    return "; ".join(items[:_MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
