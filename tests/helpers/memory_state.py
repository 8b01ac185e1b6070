"""A state without a database, for tests of what is decided from one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expresso_persist.commits.state import State
from expresso_persist.documents import render
from expresso_persist.importing.receipt import Receipt
from expresso_persist.importing.request import Request
from expresso_persist.model.operations import apply
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey

__all__ = ["MemoryState"]


class MemoryState(State):
    """The records of one tenant in memory."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        """``records``: what it begins with."""
        super().__init__(None, "default")  # type: ignore[arg-type]
        self._complete = {*RECORD_TYPES}
        for record in records:
            self._known[record.kind][record.parts] = record

    def find(self, kind: str, **columns: str) -> list[Record]:
        """Records of a kind by the values of their columns, in key order."""
        found = [
            record
            for record in self.all(kind)
            if all(
                {**dict(zip(record.key_columns, record.parts, strict=True)), **record.columns()}[n]
                == value
                for n, value in columns.items()
            )
        ]
        return sorted(found, key=lambda record: record.parts)

    def next_position(self, kind: str, **columns: str) -> int:
        """One past the last position among the records with these column values."""
        return max((record.position + 1 for record in self.find(kind, **columns)), default=0)

    def take(self, dump: dict[str, Any], **options: Any) -> Receipt:
        """Import a dump into it, as :class:`~expresso_persist.LocalStorageImporter` does."""
        given: dict[str, Any] = {
            "mode": "merge", "on_conflict": "incoming", "include": (), "device_id": None, **options,
        }  # fmt: skip
        request = Request(dump, **given)
        outcome = request.decide(self)
        for change in apply(outcome.plan.operations(), self.at):
            known = self._known[RecordKey(*change.key).kind]
            known.pop(change.key.parts, None)
            if change.after is not None:
                known[change.key.parts] = change.after
        return request.receipt(outcome, dry_run=False, revision=0)

    def dump(self) -> dict[str, str]:
        """Every document's raw string."""
        storage: dict[str, str] = render.dump(self)["localStorage"]
        return storage
