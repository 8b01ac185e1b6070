"""What an offered write comes to, beside those that were done meanwhile. Pure.

See :mod:`expresso_persist.commits.offers` for what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from expresso_persist.documents.items import ALLOCATED, AVAILABLE, TOTAL
from expresso_persist.errors import InvalidInput, OfferConflict, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import adjusted
from expresso_persist.model.records import Adjust, Change, Operation, Patch, Put, Record, RecordKey

__all__ = [
    "COUNTED",
    "SOURCES",
    "WHOLE",
    "Offer",
    "Other",
    "Position",
    "Standing",
    "meant",
    "members",
    "sets_of",
]

SOURCES = ("api", "movement")
COUNTED = frozenset({*TOTAL, "amount", ""})
"""What a count sets; "" is a record that is a number."""
WHOLE = ("setting", "station_config", "document")
"""Kinds of records that requests set whole."""
_POSITION = re.compile(r"([^.\s]{1,256})\.([0-9]{1,18})\.([0-9a-f]{1,64})")
_LEVELS = (*TOTAL, *ALLOCATED, *AVAILABLE)
_DERIVED = ("event_stock", "event_inventory")  # a new record has members that no request named


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

    def excludes(self, other: Position) -> bool:
        """Whether no timeline has both: two commits of one revision."""
        length = min(len(self.prefix), len(other.prefix))
        return self.revision == other.revision and self.prefix[:length] != other.prefix[:length]

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
        lost: The oldest position that the client knows to be lost; without it, that of the
            write which is offered.
    """

    since: Position | None = None
    acknowledged: Position | None = None
    adds: bool = False
    lost: Position | None = None


def sets_of(operation: Operation) -> frozenset[str] | None:
    """The members that an operation sets; None for the whole record."""
    if isinstance(operation, Put):
        return operation.sets
    if isinstance(operation, Patch):
        return frozenset(operation.members)
    return frozenset() if isinstance(operation, Adjust) else None


def meant(
    operations: Sequence[Operation], change: Change, *, movement: bool, adds: bool
) -> list[str]:
    """The members that a write is about, whether it changes them or not."""
    before = {} if change.before is None else members(change.before)
    after = {} if change.after is None else members(change.after)
    names = dict.fromkeys(_differing(before, after))
    if movement and not adds:
        names |= dict.fromkeys(name for name in after if name in COUNTED)
    if movement or adds:
        return [*names]
    for operation in operations:
        sets = sets_of(operation)
        names |= dict.fromkeys({**before, **after} if sets is None else sorted(sets))
    return [*names]


@attrs.frozen
class Other:
    """A commit since the common position, and what it did to one record.

    Attributes:
        revision: Its revision here.
        actor: Who did it.
        adds: It added to numbers and set nothing.
        change: What it did.
        adding: The members that it added to, where it did not only add.
        place: Where it was acknowledged on the lost timeline; None if it was first made here.
        since: What its client shared with this database when it was offered.
        lost: The oldest position that its client knew to be lost.
        confirms: The members that it set to what they were; None for all of them.
        source: What it comes from.
        moves: It is a stock movement, which keeps in step what is available.
    """

    revision: int
    actor: str
    adds: bool
    change: Change
    adding: frozenset[str] = frozenset()
    place: Position | None = None
    since: Position | None = None
    lost: Position | None = None
    confirms: frozenset[str] | None = frozenset()
    source: str = "api"
    moves: bool = False

    @property
    def fresh(self) -> bool:
        """It was first made here."""
        return self.place is None

    @property
    def forgotten(self) -> bool:
        """What it did is not known any more."""
        change = self.change
        return self.confirms == frozenset() and change.before is None and change.after is None

    def touches(self, name: str) -> bool:
        """Whether it said something about a member of the record."""
        if self.confirms is None or name in self.confirms:
            return True
        before, after = self.change.before, self.change.after
        if self.confirms:
            return False
        if before is None or after is None:
            return True
        if self.change.key.kind in WHOLE and not self.adds:
            return True
        return name in _differing(members(before), members(after))

    def added(self, name: str) -> float | None:
        """What it added to a member; None if it set it."""
        before, after = self.change.before, self.change.after
        if not (self.adds or name in self.adding) or after is None:
            return None
        known = {} if before is None else members(before)
        old = _number(known, name) if name in known else 0  # what an addition made began with 0
        new = _number(members(after), name)
        return None if old is None or new is None else adjusted(new, -old)

    def apart(self, standing: Standing) -> bool:
        """Whether it was offered after another loss than the one that this client knows.

        The revisions of two lost timelines say nothing about which of two writes was first.
        """
        place, mine = self.place, standing.acknowledged
        if place is None or mine is None:
            return False
        for one, two in ((place, mine), (self.lost, standing.lost)):
            if one is not None and two is not None and one.excludes(two):
                return True
        lows = [p.revision for p in (self.since, standing.since) if p is not None]
        highs = [(self.lost or place).revision, (standing.lost or mine).revision]
        return max(lows, default=0) >= min(highs)


@attrs.frozen
class Offer:
    """An offered write's change of one record, and how it goes with others'.

    Attributes:
        change: What it would change now; before and after are the same if nothing.
        names: The members that it is about.
        adding: The members that it adds to and does not set; None for all.
        movement: It is a stock movement.
        strict: It was made for one state of the record.
    """

    change: Change
    names: Sequence[str]
    adding: frozenset[str] | None
    movement: bool = False
    strict: bool = False

    @property
    def key(self) -> RecordKey:
        """The record."""
        return self.change.key

    def _conflict(self, other: Other) -> OfferConflict:
        stored = self.change.before
        return OfferConflict(
            f"The database lost this write after it was acknowledged, and {self.key} was changed "
            f"since, by revision {other.revision} ({other.actor}). Compare the two: send it "
            "again, or discard it.",
            context={
                "kind": self.key.kind,
                "key": list(self.key.parts),
                "revision": other.revision,
                "value": None if stored is None else stored.data,
            },
        )

    def _adds(self, name: str) -> bool:
        return self.adding is None or name in self.adding

    def after(self, others: Iterable[Other], standing: Standing, high: int) -> list[Other]:
        """The commits that came after it, in their order.

        Raises:
            OfferConflict: It is not certain which they are, or one of them excludes it.
        """
        acknowledged = standing.acknowledged
        assert acknowledged is not None
        known: list[Other] = []
        doubtful: list[Other] = []
        for other in others:
            earlier = other.place is not None and other.place.revision < acknowledged.revision
            if other.apart(standing) and self._matters(other):
                raise self._conflict(other)
            # What others offered is since the loss, unless there was more than one.
            unsure = other.revision < high and (other.fresh or standing.lost is not None)
            if not earlier:
                (doubtful if unsure else known).append(other)
        moved = any(o.added(n) is not None for o in (*doubtful, *known) for n in self._about(o))
        for other in doubtful:
            if self._matters(other) and (moved or self._differs(other)):
                raise self._conflict(other)
        for other in known:
            if self._excludes(other):
                raise self._conflict(other)
        return sorted(known, key=lambda o: (o.fresh, o.place.revision if o.place else o.revision))

    def _about(self, other: Other) -> list[str]:
        """The members that both are about."""
        return [name for name in self.names if other.touches(name)]

    def _matters(self, other: Other) -> bool:
        """Whether it matters which of the two came first."""
        if self.strict or other.forgotten or self._coupled(other):
            return True
        return any(not self._adds(name) or other.added(name) is None for name in self._about(other))

    def _differs(self, other: Other) -> bool:
        """Whether it would change what the other one is about."""
        if self.strict or other.forgotten or self._coupled(other):
            return True
        return any(self._adds(name) or name in self._changed for name in self._about(other))

    def _coupled(self, other: Other) -> bool:
        """Whether one sets numbers of a stock from which the other one, a movement, computes."""
        if self.key.kind != "event_stock" or self.movement == other.moves:
            return False
        return any(n in self.names for n in _LEVELS) and any(map(other.touches, _LEVELS))

    @property
    def _changed(self) -> Sequence[str]:
        before, after = self.change.before, self.change.after
        if before is None or after is None:
            return self.names if before is not after else ()
        return _differing(members(before), members(after))

    def _excludes(self, other: Other) -> bool:
        """Whether what the two come to is for people to say."""
        about = self._about(other)
        if other.forgotten:
            return bool(self.names)
        if self.strict and other.fresh:
            return True
        if not about:
            return False
        if other.change.before is None and other.confirms == frozenset() and self._makes(other):
            return True
        sets = [name for name in about if other.added(name) is None]
        if other.source not in SOURCES:
            return bool(sets)  # an undo, an import: what it means for a number is unknown
        return other.fresh and any(not self._adds(name) and name in self._changed for name in sets)

    def _makes(self, other: Other) -> bool:
        """Whether a record that another one made would have been made by this one."""
        if other.adds:
            return False
        made = {} if other.change.after is None else members(other.change.after)
        return self.key.kind in _DERIVED or (
            self.key.kind not in WHOLE and any(name not in made for name in self.names)
        )

    def below(self, others: Sequence[Other]) -> Change:
        """The change as it is once those have come after it.

        Raises:
            OfferConflict: What is available then cannot be known.
        """
        change = self.change
        if not others:
            return change
        if change.before is None or change.after is None:
            return Change(change.key, change.before, change.before)
        before, after = members(change.before), members(change.after)
        if ("" in before) != ("" in after):  # an object and a plain value have nothing in common
            return Change(change.key, change.before, change.before)
        for name in self.names:
            parts = [other.added(name) for other in others if other.touches(name)]
            number = _number(after, name)
            if None in parts:  # set later: that stands
                after.pop(name, None)
                if name in before:
                    after[name] = before[name]
            elif not self._adds(name) and number is not None:
                for part in parts:
                    number = adjusted(number, part or 0)
                after[name] = number
        self._keep_in_step(before, after, others)
        data: Json = after if isinstance(change.after.data, dict) else after[""]
        if change.before.data == data:
            return Change(change.key, change.before, change.before)
        record = attrs.evolve(change.after, text=json_text.dumps(data), raw=None)
        return Change(change.key, change.before, record)

    def _keep_in_step(
        self, before: dict[str, Any], after: dict[str, Any], others: Sequence[Other]
    ) -> None:
        """What is available, which movements compute from the other two numbers.

        Raises:
            OfferConflict: Others set those numbers in between.
        """
        total, allocated = (_first_number(after, which) for which in (TOTAL, ALLOCATED))
        name = next((name for name in AVAILABLE if _number(after, name) is not None), None)
        if self.key.kind != "event_stock" or name is None or total is None or allocated is None:
            return
        if not self.movement and not any(other.moves for other in others):
            return
        last = max((place for place, other in enumerate(others) if other.moves), default=-1)
        since = others[last + 1 :]
        if any(other.touches(name) and other.added(name) is None for other in since):
            after[name] = before.get(name)  # set later: that stands
            return
        for other in since:
            if any(map(other.touches, _LEVELS)):
                raise self._conflict(other)
        after[name] = adjusted(total, -allocated)


def _first_number(members: dict[str, Any], names: Sequence[str]) -> int | float | None:
    return next((found for name in names if (found := _number(members, name)) is not None), None)


def members(record: Record) -> dict[str, Any]:
    """The members of a record's value; a value without members is one called ``""``."""
    data = record.data
    return dict(data) if isinstance(data, dict) else {"": data}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    gone = object()
    names = {**before, **after}
    return [name for name in names if before.get(name, gone) != after.get(name, gone)]


def _number(members: dict[str, Any], name: str) -> int | float | None:
    value = members.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
