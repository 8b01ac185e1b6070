"""Uniting two JSON values: objects by member, lists by id, nothing full for something empty.

Pure. The rule, from the top of two values down:

1. Equal texts are one value.
2. An empty value (``null``, ``""``, ``[]``, ``{}``, and what holds nothing else, however deep)
   never takes the place of a full one, on either side: the stored value stays, which is
   listed; a stored empty value is filled.
3. Two objects are united member by member; two lists whose items are objects with unique
   ``id`` members, item by item. What only one side has stays. The order is the stored one
   with new names last, or the incoming one where that differs and is preferred.
4. Anything else is one value: the preferred side's stands, and the difference is listed.

Uniting the result with the same incoming value again changes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Literal, TypeAlias, TypeVar

import attrs

from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json

__all__ = ["Difference", "Side", "by_id", "is_empty", "merge", "merged_order"]

Side: TypeAlias = Literal["incoming", "existing"]
Path: TypeAlias = tuple[str, ...]
Name = TypeVar("Name", bound=Hashable)


@attrs.frozen
class Difference:
    """A place where both sides have a value, and not the same.

    Attributes:
        path: Members and ids on the way to it.
        existing: The stored value; for ``text`` the order of what is in it.
        incoming: The other one.
        cause: ``different`` values, an ``empty`` one against a full one, or the same values
            in another order (``text``).
        resolution: Whose value stands.
    """

    path: Path
    existing: Json
    incoming: Json
    cause: Literal["different", "empty", "text"]
    resolution: Side


def merge(
    existing: Json, incoming: Json, prefer: Side = "incoming"
) -> tuple[Json, list[Difference]]:
    """Unite two values.

    Args:
        existing: What is stored.
        incoming: What comes in.
        prefer: Whose value stands where both have one and neither is empty.

    Returns:
        The united value, and where the two differed.
    """
    differences: list[Difference] = []
    return _merge(existing, incoming, prefer, (), differences), differences


def is_empty(value: Json) -> bool:
    """Whether there is nothing in it, however deep; ``0`` and ``false`` say something."""
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    if isinstance(value, list):
        return all(map(is_empty, value))
    return value is None or value == ""


def by_id(items: Json) -> dict[str, Json] | None:
    """The items of a list by their ``id``; None unless all are objects and have one each."""
    if not isinstance(items, list):
        return None
    found: dict[str, Json] = {}
    for item in items:
        name = item.get("id") if isinstance(item, dict) else None
        if isinstance(name, bool) or not isinstance(name, (str, int)) or str(name) in found:
            return None
        found[str(name)] = item
    return found


def merged_order(
    existing: Iterable[Name], incoming: Iterable[Name], prefer: Side
) -> tuple[list[Name], bool]:
    """The order of the union of two ordered sets of names, and whether theirs agree.

    What both have stays in the stored order, and new names come last, unless the incoming
    order is another one or has new names in between, and is preferred.
    """
    old, new = dict.fromkeys(existing), dict.fromkeys(incoming)
    shared = [name for name in new if name in old]
    added = [name for name in new if name not in old]
    agree = [name for name in old if name in new] == shared
    if prefer == "existing" or (agree and [*new] == [*shared, *added]):
        return [*old, *added], agree
    return [*new, *(name for name in old if name not in new)], agree


def _merge(old: Json, new: Json, prefer: Side, path: Path, out: list[Difference]) -> Json:
    if is_empty(old) != is_empty(new):
        if is_empty(old):
            return new
        out.append(Difference(path, old, new, "empty", "existing"))
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        return _members(old, new, prefer, path, out)
    old_items, new_items = by_id(old), by_id(new)
    if old_items and new_items:
        return [*_members(old_items, new_items, prefer, path, out).values()]
    if json_text.dumps(old) == json_text.dumps(new):
        return old
    out.append(Difference(path, old, new, "different", prefer))
    return new if prefer == "incoming" else old


def _members(
    old: Mapping[str, Json],
    new: Mapping[str, Json],
    prefer: Side,
    path: Path,
    out: list[Difference],
) -> dict[str, Json]:
    order, agree = merged_order(old, new, prefer)
    if not agree:
        out.append(Difference(path, [*old], [*new], "text", prefer))
    united: dict[str, Json] = {}
    for name in order:
        if name in old and name in new:
            united[name] = _merge(old[name], new[name], prefer, (*path, name), out)
        else:
            united[name] = old[name] if name in old else new[name]
    return united
