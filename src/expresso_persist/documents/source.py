"""Where documents take their records from."""

from __future__ import annotations

from typing import Protocol

from expresso_persist.model.records import Record, RecordKey

__all__ = ["RecordSource"]


class RecordSource(Protocol):
    """The records of a tenant, such as :class:`~expresso_persist.commits.state.State`."""

    def get(self, kind: str, *parts: str) -> Record | None:
        """The record with this key, or None."""

    def at(self, key: RecordKey) -> Record | None:
        """The record at ``key``, or None."""

    def records(self, kind: str) -> list[Record]:
        """All records of a kind, in their order."""

    def find(self, kind: str, **columns: str) -> list[Record]:
        """The records with these column values, in their order."""

    def next_position(self, kind: str, **columns: str) -> int:
        """One after the last position among the records with these column values."""
