"""Front-end and seed shapes of one event, merged either way, in any order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expresso_persist import LocalStorageImporter, Store, jsontext
from expresso_persist.merge import by_id, is_empty

CATEGORIES = ("milk", "coffee", "cups")
ITEMS = {
    "milk": ("Whole Milk", "Oat Milk", "Soy"),
    "coffee": ("House", "Decaf"),
    "cups": ("Regular", "Large"),
}
_tenants = itertools.count()


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    with Store("sqlite://", migrate=True) as store:
        yield store


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


def exported(store: Store) -> dict[str, Any]:
    found = store.inventory.dump()["localStorage"]
    return {key: json.loads(raw) for key, raw in found.items()}


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
    part=st.sets(st.sampled_from([n for names in ITEMS.values() for n in names])),
    side=st.sampled_from(["incoming", "existing"]),
    turned=st.booleans(),
    changes=st.data(),
)
def test_the_stored_shape_stays(
    shared: Store, event: Any, part: set[str], side: Any, turned: bool, changes: Any
) -> None:
    """No container changes, no named item is there twice, no member is lost, twice is once."""
    subset = {
        category: {name: changes.draw(stock) for name in items if name in part}
        for category, items in event.items()
    }
    first, second = (seed(event), front_end(subset)) if turned else (front_end(event), seed(subset))
    tenant = shared.for_tenant(f"t{next(_tenants)}")
    importer = LocalStorageImporter(tenant.inventory)
    importer.import_(first, actor="test")
    assert exported(tenant) == first  # nothing was stored: exactly the dump
    before = exported(tenant)
    receipt = importer.import_(second, actor="test", on_conflict=side)
    after = exported(tenant)
    if any(event.values()):
        # Empty containers that only the dump has come in with it; the others stay.
        for key, document in before.items():
            if not is_empty(document):
                kinds = dict(containers(after[key], 2))
                assert {p: kinds[p] for p, _ in containers(document, 2)} == dict(
                    containers(document, 2)
                )
            assert {*members(document)} <= {*members(after[key])}
    named = [
        (category, item.get("name", name) if isinstance(item, dict) else name)
        for category, items in after["event_inventory"].items()
        for name, item in (
            items.items() if isinstance(items, dict) else ((i["name"], i) for i in items)
        )
    ]
    assert len(named) == len({*named}) == sum(map(len, event.values()))
    for kind, count in (("event_stock", 1), ("station_quantity", 1)):
        assert len(tenant.inventory.records(kind)) == count * len(named)
    if side == "existing":
        assert after == {**after, **{k: v for k, v in before.items() if not is_empty(v)}}
    else:
        for category, items in subset.items():
            for name, item in items.items():
                if name in event[category]:
                    assert [
                        r.columns()["total_quantity"]
                        for r in tenant.inventory.records("event_stock")
                        if r.parts[0] == category
                        and r.parts[1] in (name, identifier(category, name))
                    ] == [item["n"]]
    assert {match.document for match in receipt.matched} <= {*first}
    again = importer.import_(second, actor="test", on_conflict=side)
    assert not again.committed
    assert jsontext.dumps(exported(tenant)) == jsontext.dumps(after)


@settings(max_examples=30)
@given(dumps=st.lists(events, min_size=2, max_size=3), shapes=st.lists(st.booleans(), min_size=3))
def test_several_devices_in_any_order_give_the_same_items(
    shared: Store, dumps: list[Any], shapes: list[bool]
) -> None:
    """Whatever shape each has, and whichever came first."""
    forms = [
        (seed if turned else front_end)(event) for event, turned in zip(dumps, shapes, strict=False)
    ]
    results = []
    for order in itertools.permutations(forms):
        tenant = shared.for_tenant(f"t{next(_tenants)}")
        importer = LocalStorageImporter(tenant.inventory)
        for dump in order:
            importer.import_(dump, actor="test")
        results.append(
            {
                (record.parts[0], record.columns()["item_name"])
                for record in tenant.inventory.records("event_inventory")
            }
        )
    assert all(result == results[0] for result in results)
