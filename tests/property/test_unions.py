"""Front-end and seed shapes of one event, merged either way, in any order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from expresso_persist.documents.merge import by_id, is_empty
from memory_state import MemoryState

CATEGORIES = ("milk", "coffee", "cups")
ITEMS = {
    "milk": ("Whole Milk", "Oat Milk", "Soy"),
    "coffee": ("House", "Decaf"),
    "cups": ("Regular", "Large"),
}


def identifier(category: str, name: str) -> str:
    return f"{category}_{name.lower().replace(' ', '_')}"


numbers = st.integers(0, 9)
stock = st.fixed_dictionaries({"n": numbers, "allocated": numbers, "enabled": st.booleans()})
events = st.fixed_dictionaries(
    {
        category: st.dictionaries(st.sampled_from(ITEMS[category]), stock, max_size=3)
        for category in CATEGORIES
    }
)


def front_end(event: dict[str, Any]) -> dict[str, Any]:
    """Lists of items with ids; stock and allotments keyed by the ids."""
    return {
        "event_inventory": {
            category: [
                {
                    "id": identifier(category, name),
                    "name": name,
                    "enabled": item["enabled"],
                    "category": category,
                }
                for name, item in items.items()
            ]
            for category, items in event.items()
        },
        "event_stock_levels": {
            category: {
                identifier(category, name): {"quantity": item["n"], "allocated": item["allocated"]}
                for name, item in items.items()
            }
            for category, items in event.items()
        },
        "station_inventory_quantities": {
            "1": {
                category: {
                    identifier(category, name): {"quantity": item["n"]}
                    for name, item in items.items()
                }
                for category, items in event.items()
            }
        },
    }


def seed(event: dict[str, Any]) -> dict[str, Any]:
    """Objects by name; flat stock and allotments."""
    flat = [(c, name, item) for c, items in event.items() for name, item in items.items()]
    return {
        "event_inventory": {
            category: {name: {"enabled": item["enabled"]} for name, item in items.items()}
            for category, items in event.items()
            if items
        },
        "event_stock_levels": {
            name: {"category": category, "total": item["n"], "allocated": item["allocated"]}
            for category, name, item in flat
        },
        "station_inventory_quantities": {"1": {name: item["n"] for _, name, item in flat}},
    }


def parsed(state: MemoryState) -> dict[str, Any]:
    return {key: json.loads(raw) for key, raw in state.dump().items()}


def containers(value: Any, depth: int) -> Iterator[tuple[tuple[str, ...], type]]:
    """The containers down to a depth, with what they are."""
    if isinstance(value, (dict, list)):
        yield (), type(value)
        if isinstance(value, dict) and depth:
            for name, member in value.items():
                for path, kind in containers(member, depth - 1):
                    yield (name, *path), kind


def members(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every member that holds something; items of lists go by their ids."""
    if is_empty(value):
        return
    yield path
    for name, member in (value if isinstance(value, dict) else by_id(value) or {}).items():
        yield from members(member, (*path, name))


@settings(max_examples=60)
@given(
    event=events,
    part=st.sets(st.sampled_from([name for names in ITEMS.values() for name in names])),
    side=st.sampled_from(["incoming", "existing"]),
    turned=st.booleans(),
    changes=st.data(),
)
def test_the_stored_shape_stays(
    event: Any, part: set[str], side: Any, turned: bool, changes: Any
) -> None:
    """No container changes, no named item is there twice, no member is lost, twice is once."""
    subset = {
        category: {name: changes.draw(stock) for name in items if name in part}
        for category, items in event.items()
    }
    first, second = (seed(event), front_end(subset)) if turned else (front_end(event), seed(subset))
    state = MemoryState()
    state.take(first)
    before = parsed(state)
    assert before == first  # nothing was stored: exactly the dump
    receipt = state.take(second, on_conflict=side)
    after = parsed(state)
    for key, document in before.items():
        if not is_empty(document):
            kinds = dict(containers(after[key], 2))
            assert all(kinds[path] is kind for path, kind in containers(document, 2))
        assert {*members(document)} <= {*members(after[key])}
    named = [
        (record.parts[0], record.columns()["item_name"]) for record in state.all("event_inventory")
    ]
    assert len(named) == len({*named}) == sum(map(len, event.values()))
    for kind in ("event_stock", "station_quantity"):
        assert len(state.all(kind)) == len(named)
    totals = {
        (record.parts[0], record.parts[1]): record.columns()["total_quantity"]
        for record in state.all("event_stock")
    }
    for category, items in event.items():
        for name, item in items.items():
            chosen = subset[category].get(name, item) if side == "incoming" else item
            address = (category, name if turned else identifier(category, name))
            assert totals[address] == chosen["n"]
    count = sum(map(len, subset.values()))
    assert len(receipt.matched) == 3 * count
    assert not state.take(second, on_conflict=side).committed


@settings(max_examples=30)
@given(dumps=st.lists(st.tuples(events, st.booleans()), min_size=2, max_size=3))
def test_several_devices_in_any_order_give_the_same_items(dumps: list[Any]) -> None:
    """Whatever shape each has, and whichever came first."""
    forms = [seed(event) if turned else front_end(event) for event, turned in dumps]
    results = []
    for order in itertools.permutations(forms):
        state = MemoryState()
        for dump in order:
            state.take(dump)
        found = state.all("event_inventory")
        results.append({(record.parts[0], record.columns()["item_name"]) for record in found})
        assert len(results[-1]) == len(found)
    assert all(result == results[0] for result in results)


names = st.sampled_from(["milk", "cups", "1", "a", "b", "id", "name", "quantity", "total", ""])
scalars = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b", "milk"])
things = scalars | st.dictionaries(names, scalars | st.lists(scalars, max_size=2), max_size=3)
trees = st.dictionaries(
    names,
    things
    | st.lists(things, max_size=3)
    | st.dictionaries(names, things | st.dictionaries(names, things, max_size=2), max_size=3),
    max_size=3,
)
keys = st.sampled_from(
    [
        "event_inventory",
        "event_stock_levels",
        "station_inventory_configs",
        "station_inventory_quantities",
        "coffee_stock_station_1",
        "event_menu",
    ]
)
dumps = st.dictionaries(keys, trees | scalars | st.lists(things, max_size=2), max_size=4)


@settings(max_examples=120)
@given(first=dumps, second=dumps, side=st.sampled_from(["incoming", "existing"]))
def test_documents_of_any_shape_are_united_once(
    first: dict[str, Any], second: dict[str, Any], side: Any
) -> None:
    """However odd both are: twice is once, the receipt adds up, what is stored is written back."""
    state = MemoryState()
    state.take(first)
    before = state.dump()
    receipt = state.take(second, on_conflict=side)
    after = state.dump()
    assert {*before} | {*second} == {*after}
    totals = receipt.totals
    assert totals.pop("keys") == sum(totals.values()) == len(second)
    kept = {
        conflict.document for conflict in receipt.conflicts if conflict.resolution == "existing"
    }
    for key in receipt.keys:
        assert (key.kept > 0) == (key.key in kept)
        if key.outcome == "kept":
            assert after[key.key] == before[key.key]
        if is_empty(second[key.key]) and not is_empty(first.get(key.key)):
            assert after[key.key] == before[key.key]
    assert not state.take(second, on_conflict=side).committed
    assert state.dump() == after
    fresh = MemoryState()
    fresh.take({"localStorage": after})
    assert fresh.dump() == after
