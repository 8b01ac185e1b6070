"""The same dump again commits nothing, whatever shapes the two sides have."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from expresso_persist import Store

CATEGORIES, NAMES = ("milk", "coffee", "syrups"), ("Oat", "Soy", "Whole", "Skim")
Dump = dict[str, Any]


def some(values: tuple[str, ...], least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=len(values))


@st.composite
def by_category(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    """Items under their ids, in categories."""
    return {
        category: {f"{category}_{NAMES.index(name) + 1}": draw(value) for name in draw(some(NAMES))}
        for category in draw(some(CATEGORIES))
    }


@st.composite
def listed(draw: st.DrawFn) -> dict[str, Any]:
    """Items in lists, with ids and names."""
    return {
        category: [
            {"id": f"{category}_{NAMES.index(name) + 1}", "name": name}
            for name in draw(some(NAMES))
        ]
        for category in draw(some(CATEGORIES))
    }


def named(value: Any) -> st.SearchStrategy[dict[str, Any]]:
    return some(NAMES).flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, value)))


NUMBERS = st.integers(0, 3)
AMOUNTS = st.fixed_dictionaries({"quantity": NUMBERS}, optional={"x": NUMBERS})
STOCK = st.fixed_dictionaries(
    {"category": st.sampled_from(CATEGORIES), "total": NUMBERS}, optional={"allocated": NUMBERS}
)
WRONG = st.sampled_from([None, [], {}, 5, {"milk": 5}, {"milk": [1, 2]}, {"milk": None}])


def of_stations(quantities: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(["1", "2"]), quantities, max_size=2)


DUMPS: st.SearchStrategy[Dump] = st.fixed_dictionaries(
    {},
    optional={
        "event_inventory": st.one_of(
            listed(),
            st.dictionaries(
                st.sampled_from(CATEGORIES), named(st.just({"enabled": True})), max_size=3
            ),
            WRONG,
        ),
        "event_stock_levels": st.one_of(by_category(AMOUNTS), named(STOCK)),
        "station_inventory_quantities": of_stations(
            st.one_of(by_category(AMOUNTS), named(NUMBERS))
        ),
    },
).filter(bool)


@example(
    {"station_inventory_quantities": {"1": {"Oat Milk": 4}}},
    {
        "event_inventory": {
            "syrups": [{"id": "syrups_3", "name": "Chocolate"}],
            "drinks": [{"id": "drinks_3", "name": "Chocolate"}],
        },
        "station_inventory_quantities": {
            "1": {"syrups": {"syrups_3": {"quantity": 5}}, "drinks": {"drinks_3": {"quantity": 7}}}
        },
    },
    "incoming",
)
@example(
    {"event_inventory": {"syrups": {}}, "event_stock_levels": {"milk": {"milk_3": {}}}},
    {
        "event_inventory": {"coffee": [{"id": "coffee_4", "name": "Skim"}]},
        "event_stock_levels": {"Skim": {"allocated": 2}},
    },
    "incoming",
)
@example(
    {"event_stock_levels": {n: {"category": "syrups", "total": 1} for n in ("Oat", "Soy")}},
    {"event_stock_levels": {n: {"category": "milk", "total": 1} for n in ("Soy", "Oat", "Skim")}},
    "incoming",
)
@example(
    {"event_stock_levels": {"milk": [{"id": "milk_1", "name": "Oat"}]}},
    {"event_stock_levels": {"milk": {"Oat": {"name": "Soy"}}}},
    "incoming",
)
@settings(max_examples=30)
@given(DUMPS, DUMPS, st.sampled_from(["incoming", "existing"]))
def test_the_same_dump_again_commits_nothing(first: Dump, second: Dump, prefer: Any) -> None:
    with Store("sqlite://", migrate=True) as store:
        store.importer.before_change = None
        store.importer.import_(first, actor="anna")
        store.importer.import_(second, actor="bert", on_conflict=prefer)
        before, revision = store.inventory.dump(), store.inventory.head().revision
        again = store.importer.import_(second, actor="bert", on_conflict=prefer)
        assert store.inventory.dump()["localStorage"] == before["localStorage"]
        assert (again.committed, store.inventory.head().revision) == (False, revision)


@pytest.mark.parametrize("ids", [("syrups_3", "drinks_3"), ("x", "x")])
def test_numbers_of_items_of_one_name_are_not_doubled(store: Store, ids: tuple[str, str]) -> None:
    """A flat station calls them by their ids; the same id twice keeps its category."""
    store.importer.import_({"station_inventory_quantities": {"1": {"Oat": 4}}}, actor="anna")
    quantities = {"syrups": {ids[0]: {"quantity": 5}}, "drinks": {ids[1]: {"quantity": 7}}}
    inventory = {
        category: [{"id": name, "name": "Chocolate"}]
        for category, name in zip(("syrups", "drinks"), ids, strict=True)
    }
    dump = {"event_inventory": inventory, "station_inventory_quantities": {"1": quantities}}
    for _ in range(3):
        store.importer.import_(dump, actor="bert")
        records = store.inventory.records("station_quantity")
        numbers = [r.data["quantity"] if isinstance(r.data, dict) else r.data for r in records]
        assert sorted(numbers) == [4, 5, 7]
