"""Recent: the newest commits, encoded once for everybody who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import attrs
import msgspec

from expresso_persist.commits.hash_chain import commit_to_json
from expresso_persist.model.records import Commit, Head

__all__ = ["Encoded", "Recent", "encode"]

KEPT_COMMITS = 256
KEPT_BYTES = 4 * 1024 * 1024
_SHARED = 8  # nearly everybody stands at one of the last cursors


@attrs.frozen
class Encoded:
    """A commit as JSON, and the cursor that stands behind it."""

    cursor: str
    json: bytes


def encode(epoch: str, commits: Iterable[Commit]) -> list[Encoded]:
    """Commits as JSON, in the order given."""
    return [
        Encoded(
            Head(epoch, commit.revision, commit.hash).cursor,
            msgspec.json.encode(commit_to_json(commit)),
        )
        for commit in commits
    ]


class Recent:
    """A run of commits without a gap, never changed: a longer one takes its place.

    So readers need no lock, and those who stand at the same cursor share the same
    bytes, however many they are.
    """

    def __init__(self, base: str, entries: tuple[Encoded, ...] = ()) -> None:
        """``entries`` are what came after the cursor ``base``."""
        self._base = base
        self._entries = entries
        self._places = {base: 0}
        self._places |= {entry.cursor: place for place, entry in enumerate(entries, 1)}
        self._joined: dict[tuple[str, object], bytes] = {}

    @property
    def cursor(self) -> str:
        """Where it ends."""
        return self._entries[-1].cursor if self._entries else self._base

    def extended(self, entries: Iterable[Encoded]) -> Self:
        """A run that goes on with ``entries``, and forgets the oldest beyond its bounds."""
        kept = (*self._entries, *entries)
        size, start = 0, len(kept)
        while start and len(kept) - start < KEPT_COMMITS:
            size += len(kept[start - 1].json)
            if size > KEPT_BYTES:
                break
            start -= 1
        return type(self)(kept[start - 1].cursor if start else self._base, kept[start:])

    def after(self, cursor: str) -> tuple[Encoded, ...] | None:
        """What came after ``cursor``; None if that is not known here."""
        place = self._places.get(cursor)
        return None if place is None else self._entries[place:]

    def joined(self, cursor: str, frame: Callable[[Encoded], bytes]) -> bytes | None:
        """All of :meth:`after` as bytes, made once for all who ask the same."""
        key = (cursor, frame)
        found = self._joined.get(key)
        if found is None:
            entries = self.after(cursor)
            if entries is None:
                return None
            found = b"".join(map(frame, entries))
            if len(self._joined) < _SHARED:
                self._joined[key] = found
        return found
