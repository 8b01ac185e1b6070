"""Which stored records a name means, and how the numbers of an item are spelled.

Pure. People and documents name an item by its id or by its name, with or without a
category; the front end's stock knows items by id, the seed's by name, and the inventory
knows both. Updates and imports ask here, so that both mean the same record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Record

__all__ = [
    "ALLOCATED",
    "AVAILABLE",
    "THRESHOLD",
    "TOTAL",
    "Find",
    "Meant",
    "known_items",
    "list_item",
    "meant",
    "names_of",
    "own_id",
    "respelled",
    "stock_id",
]

# Spellings of the stock numbers: the front end's, the seed's, the columns'.
TOTAL = ("quantity", "total", "total_quantity")
ALLOCATED = ("allocated", "allocated_quantity")
AVAILABLE = ("available", "available_quantity")
THRESHOLD = ("low_stock_threshold", "lowThreshold")
_INVENTORY = "event_inventory"


class Find(Protocol):
    """Gives the records of a kind by the values of their columns.

    ``own_id`` is no column but what :func:`own_id` says, where that is not the address.
    """

    def __call__(self, kind: str, **columns: str) -> Sequence[Record]: ...


@attrs.frozen
class Meant:
    """What a name means.

    Attributes:
        records: The stored records; none when there is no such item.
        ambiguous: It means several items, and nothing says which.
        known: The items of the inventory through which they were found.
    """

    records: tuple[Record, ...] = ()
    ambiguous: bool = False
    known: tuple[Record, ...] = ()


def meant(
    find: Find,
    kind: str,
    scope: Mapping[str, str],
    *,
    item_id: str | None = None,
    name: str | None = None,
) -> Meant:
    """The records that an id or a name means: by id, else by name, else by the inventory.

    Args:
        find: Gives records by their columns.
        kind: Kind of the records.
        scope: Values of other key columns, such as the station or the category.
        item_id: The item's id; a name is not looked at then.
        name: The item's id or name.
    """
    wanted = item_id if item_id is not None else name
    assert wanted is not None
    found = find(kind, **scope, item_id=wanted)
    if not found and item_id is None:
        found = find(kind, **scope, item_name=wanted)
    if not found and kind == _INVENTORY:
        found = find(kind, **scope, own_id=wanted)
    if found or kind == _INVENTORY:
        return Meant(tuple(found), len(found) > 1)
    # Stock and stations know items by id or by name; the inventory has both.
    known = known_items(find, wanted, scope.get("category"))
    through: dict[tuple[str, ...], Record] = {}
    for item in known:
        # Without a category asked for, also where the seed's flat shapes have none.
        for category in [scope["category"]] if "category" in scope else [item.parts[0], ""]:
            for alias in names_of(item):
                where = {**scope, "category": category}
                through.update((r.parts, r) for r in find(kind, **where, item_id=alias))
    # Where no category is asked for, two items of one name are two, whichever has numbers.
    places = Counter(item.parts[0] for item in known) if "category" in scope else {"": len(known)}
    doubled = any(count > 1 for count in places.values())
    return Meant(
        tuple(through.values()), bool(through) and (doubled or len(through) > 1), tuple(known)
    )


def known_items(find: Find, wanted: str, category: str | None = None) -> list[Record]:
    """The items of the inventory with this id, or else with this name."""
    scope = {"category": category} if category else {}
    for column in ("item_id", "item_name", "own_id"):
        found = find(_INVENTORY, **scope, **{column: wanted})
        if found:
            return [*found]
    return []


def names_of(record: Record) -> list[str]:
    """What an item of the inventory is called elsewhere: address, id and name."""
    names = [record.parts[-1], own_id(record), record.columns().get("item_name")]
    return [*dict.fromkeys(name for name in names if isinstance(name, str))]


def own_id(record: Record) -> str | None:
    """The id that an item has itself; None for one that is known by its name only.

    An id that is the name was made from it, for want of another one.
    """
    data = record.data
    if not isinstance(data, dict):
        return None
    value, name, address = data.get("id"), data.get("name"), record.parts[-1]
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value) if str(value) != name else None
    if not isinstance(name, str) or name == address or address.startswith(f"{name}~"):
        return None
    return address


def stock_id(item: Record) -> str:
    """The id under which stock that is ordered by ids has an item of the inventory."""
    return own_id(item) or item.parts[-1]


def list_item(
    category: str, item_id: str, name: str, members: Mapping[str, Json]
) -> dict[str, Json]:
    """An item of the inventory's list form, made from what is known of it."""
    return {"id": item_id, "name": name, "enabled": True, "category": category, **members}


def respelled(members: Mapping[str, Json], like: Iterable[str]) -> dict[str, Json]:
    """The same members, the stock numbers spelled as in ``like`` where it has them."""
    wanted = set(like)
    renamed = dict(members)
    for names in (TOTAL, ALLOCATED, AVAILABLE, THRESHOLD):
        target = next((name for name in names if name in wanted), None)
        given = [name for name in names if name in members]
        if target is not None and len(given) == 1 and given[0] != target:
            renamed = {target if n == given[0] else n: value for n, value in renamed.items()}
    return renamed
