"""Items that look like one thing and are not one, with the numbers that hang on each.

Pure. Two browsers that made the same item gave it two ids, and two items may have got one
id. Whether they are one thing only a person can say: here they are found and listed, and
nothing is changed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from expresso_persist.documents.items import names_of, own_id
from expresso_persist.importing.receipt import AlikeItem, Holding, Likeness, Lookalikes
from expresso_persist.importing.union import United
from expresso_persist.model import json_text
from expresso_persist.model.records import Record, RecordKey

__all__ = ["folded", "lookalikes"]

_INVENTORY = "event_inventory"
# Kinds that say how much there is of an item, and the column that says it.
_NUMBERS = {
    "event_stock": "total_quantity",
    "station_quantity": "quantity",
    "station_stock": "amount",
}
_SEPARATORS = str.maketrans("", "", "-_\u200b\u2010\u2011")
MAX_ITEMS = 10
MAX_HOLDINGS = 50

Path: TypeAlias = tuple[str, ...]
Records: TypeAlias = Callable[[str], Iterable[Record]]


def folded(name: str) -> str:
    """A name without what people do not look at: case, spaces, dashes, Unicode's forms."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return unicodedata.normalize("NFKC", "".join(plain.split()).translate(_SEPARATORS))


def lookalikes(
    unions: Sequence[tuple[str, United]], before: Records, after: Records
) -> list[Lookalikes]:
    """What an import leaves for a person to decide.

    Args:
        unions: Keys of documents with items, the inventory's first, and what became of each.
        before: Gives the stored records of a kind.
        after: Gives those that the import leaves.
    """
    dumped = {
        kind: [record for _, union in unions for record in union.theirs if record.kind == kind]
        for kind in _NUMBERS
    }
    sides = {
        "stored": _Numbers(before),
        "dump": _Numbers(lambda kind: dumped[kind]),
        "after": _Numbers(after),
    }
    found: list[Lookalikes] = []
    listed: set[RecordKey] = set()
    for document, union in unions:
        if not any(record.kind in (_INVENTORY, *_NUMBERS) for record in union.records[:1]):
            continue  # stations are no items
        for alike in (*_same_ids(document, union, sides), *_same_names(document, union, sides)):
            keys = {holding.record for item in alike.items for holding in item.holdings}
            if not keys or keys - listed:
                found.append(alike)
            listed |= keys
    return found


class _Numbers:
    """Records with numbers, by the item that they are about."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._index: dict[Path, list[Record]] | None = None

    def of(self, item: Record) -> list[Record]:
        """The numbers that hang on an item, by its address, its id or its name."""
        if item.kind != _INVENTORY:
            return [item]
        if self._index is None:
            self._index = {}
            for kind in _NUMBERS:
                for record in sorted(self._records(kind), key=lambda record: record.parts):
                    self._index.setdefault(record.parts[-2:], []).append(record)
        found = {
            record.key: record
            for alias in names_of(item)
            for category in (item.parts[0], "")
            for record in self._index.get((category, alias), ())
        }
        return [*found.values()]


_Sides: TypeAlias = Mapping[str, _Numbers]


def _same_ids(document: str, union: United, sides: _Sides) -> Iterator[Lookalikes]:
    """One id that the database and the dump have for items of two names."""
    ours = {record.parts: record for record in union.ours}
    for theirs in union.theirs:
        mine = ours.get(theirs.parts)
        if mine is None or mine.text == theirs.text:
            continue
        names = _own_name(mine), _own_name(theirs)
        if names[0] is None and own_id(theirs) != mine.parts[-1]:
            names = mine.parts[-1], names[1]  # it is known by its name only
        if None in names or folded(names[0] or "") == folded(names[1] or ""):
            continue
        items = (
            _item(mine, "stored", sides["stored"].of(mine)),
            _item(theirs, "dump", sides["dump"].of(theirs)),
        )
        yield Lookalikes("same_id", document, items)


def _same_names(document: str, union: United, sides: _Sides) -> Iterator[Lookalikes]:
    """Several items of one name, of which the dump has one and the database another."""
    ours = {record.parts for record in union.ours}
    theirs = {record.parts for record in union.theirs}
    inventory = union.records[0].kind == _INVENTORY
    if not theirs or not (inventory or ours - theirs):
        return
    groups: dict[Path, list[Record]] = {}
    for record in union.records:
        name = folded(str(record.columns()["item_name"]))
        # Elsewhere a name may be an id, which another category has for another item.
        scope = () if inventory else record.parts[:-1]
        if name:
            groups.setdefault((*scope, name), []).append(record)
    for group in groups.values():
        new = [record for record in group if record.parts in theirs]
        categories = [record.parts[-2] for record in (new if inventory else ())]
        apart = len(new) < len(group)
        if not new or not (apart or len({*categories}) < len(categories)):
            continue
        group.sort(key=lambda record: record.parts not in ours)
        among = {record.parts[-2] for record in group}
        items = [
            _item(record, _side(record.parts, ours, theirs), sides["after"].of(record))
            for record in group[:MAX_ITEMS]
        ]
        cause: Likeness = "same_name" if len(among) < len(group) else "other_category"
        yield Lookalikes(cause, document, tuple(items), len(group))


def _side(parts: Path, ours: set[Path], theirs: set[Path]) -> str:
    if parts in ours:
        return "both" if parts in theirs else "stored"
    return "dump"


def _own_name(record: Record) -> str | None:
    data = record.data
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name else None


def _item(record: Record, side: str, numbers: Sequence[Record]) -> AlikeItem:
    holdings = []
    for number in numbers[:MAX_HOLDINGS]:
        value = number.columns()[_NUMBERS[number.kind]]
        quantity = json_text.canonical_number(value) if isinstance(value, (int, float)) else None
        holdings.append(Holding(number.kind, number.parts, quantity))
    name = str(record.columns()["item_name"])
    return AlikeItem(record.parts, name, side, tuple(holdings), len(numbers))
