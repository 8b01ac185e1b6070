"""Items that look like one thing: kept apart (or united by their id), and never without a word."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.importing.lookalikes import folded
from expresso_persist.importing.receipt import Receipt
from memory_state import MemoryState
from shapes import held


def browser(item: str, number: int, name: str = "Oat", category: str = "milk") -> dict[str, Any]:
    """One browser's event of one item, with stock, an allotment and what is left of it."""
    return {
        "event_inventory": {category: [{"id": item, "name": name, "enabled": True}]},
        "event_stock_levels": {category: {item: {"quantity": number}}},
        "station_inventory_quantities": {"1": {category: {item: {"quantity": number - 1}}}},
        "coffee_stock_station_1": {category: [{"id": item, "name": name, "amount": number - 2}]},
    }


def listed(receipt: Receipt) -> list[tuple[str, list[tuple[Any, ...]]]]:
    return [
        (
            alike.cause,
            [
                ("/".join(item.key), item.name, item.side, [h.quantity for h in item.holdings])
                for item in alike.items
            ],
        )
        for alike in receipt.alike
    ]


def test_two_browsers_made_the_same_item(store: Store) -> None:
    """Both stay, with what hangs on each; the plan says it before, a repetition again."""
    first, second = browser("oat_1", 10), browser("milk-oat-7", 6)
    assert not store.importer.import_(first, actor="test").alike
    plan = store.importer.plan(second)
    receipt = store.importer.import_(second, actor="test", on_conflict="fail")
    expected = [
        (
            "same_name",
            [
                ("milk/oat_1", "Oat", "stored", [10, 9, 8]),
                ("milk/milk-oat-7", "Oat", "dump", [6, 5, 4]),
            ],
        )
    ]
    assert listed(plan) == listed(receipt) == expected
    assert not receipt.conflicts
    assert receipt.to_json()["alike"][0] == {
        "cause": "same_name",
        "document": "event_inventory",
        "item_count": 2,
        "items": [
            {
                "key": ["milk", name],
                "name": "Oat",
                "side": side,
                "holding_count": 3,
                "holdings": [
                    {"kind": "event_stock", "key": ["milk", name], "quantity": n},
                    {"kind": "station_quantity", "key": ["1", "milk", name], "quantity": n - 1},
                    {"kind": "station_stock", "key": ["1", "milk", name], "quantity": n - 2},
                ],
            }
            for name, side, n in (("oat_1", "stored", 10), ("milk-oat-7", "dump", 6))
        ],
    }
    assert Receipt.from_json(receipt.to_json()) == receipt
    again = store.importer.import_(second, actor="test")
    assert not again.committed
    assert [item.side for item in again.alike[0].items] == ["stored", "both"]
    assert [*held(store)["event_stock_levels"]["milk"]] == ["oat_1", "milk-oat-7"]
    # A dump that has both says that there are two; so does one that replaces all.
    assert listed(store.importer.plan(second, mode="replace")) == []


@pytest.mark.parametrize(
    "name", ["oat", " Oat ", "OAT", "O\u200bat", "o at", "o-at", "\uff2fat", "O\u00a0at"]
)
def test_what_people_do_not_see_makes_no_other_name(name: str) -> None:
    state = MemoryState()
    state.take(browser("oat_1", 10))
    ((cause, items),) = listed(state.take(browser("b", 6, name)))
    assert (cause, [item[1] for item in items]) == ("same_name", ["Oat", name])


def test_unicodes_forms_are_one_name() -> None:
    assert folded("Cr\u00e8me Bru\u0302le\u0301e") == folded("CRE\u0300ME BR\u00dbL\u00c9E")
    assert folded("Stra\u00dfe") == folded("STRASSE")
    assert folded("Oat") != folded("Oats")


def test_the_seeds_names() -> None:
    """There a name is the id, so another spelling is another item, and of numbers too."""
    state = MemoryState()
    seed = {
        "event_inventory": {"milk": {"Oat Milk": {"enabled": True}}},
        "event_stock_levels": {"Oat Milk": {"category": "milk", "total": 4}},
        "station_inventory_quantities": {"1": {"Oat Milk": 3}, "2": {"Oat Milk": 1}},
    }
    state.take(seed)
    other = {
        "event_inventory": {"milk": {"oat milk": {"enabled": True}}},
        "event_stock_levels": {"oat milk": {"category": "milk", "total": 7}},
        "station_inventory_quantities": {"1": {"oat milk": 2}},
    }
    both = [
        (
            "same_name",
            [
                ("milk/Oat Milk", "Oat Milk", "stored", [4, 3, 1]),
                ("milk/oat milk", "oat milk", "dump", [7, 2]),
            ],
        )
    ]
    assert listed(state.take(other)) == both
    numbers = MemoryState()
    seed.pop("event_inventory")
    other.pop("event_inventory")
    numbers.take(seed)
    assert listed(numbers.take(other)) == [
        ("same_name", [("milk/Oat Milk", "Oat Milk", "stored", [4]),
                       ("milk/oat milk", "oat milk", "dump", [7])]),
        ("same_name", [("1//Oat Milk", "Oat Milk", "stored", [3]),
                       ("1//oat milk", "oat milk", "dump", [2])]),
    ]  # fmt: skip


def test_more_than_two() -> None:
    """Every one is listed, up to ten, and all are counted."""
    state = MemoryState()
    state.take(browser("a", 3))
    state.take(browser("b", 4))
    ((cause, items),) = listed(state.take(browser("c", 5)))
    assert cause == "same_name"
    assert [(item[0], item[2]) for item in items] == [
        ("milk/a", "stored"), ("milk/b", "stored"), ("milk/c", "dump"),
    ]  # fmt: skip
    twins = [{"id": f"t{n}", "name": "Oat"} for n in range(20)]
    (alike,) = state.take({"event_inventory": {"milk": twins}}).alike
    assert (len(alike.items), alike.item_count) == (10, 23)
    (alone,) = MemoryState().take({"event_inventory": {"milk": twins[:2]}}).alike
    assert [item.side for item in alone.items] == ["dump", "dump"]


def test_one_name_in_two_categories() -> None:
    """Vanilla may be a syrup and a powder: said where two sides have it, not of one event."""
    state = MemoryState()
    state.take(browser("van", 3, "Vanilla", "syrups"))
    ((cause, items),) = listed(state.take(browser("van", 4, "Vanilla", "powders")))
    assert cause == "other_category"
    assert items == [
        ("syrups/van", "Vanilla", "stored", [3, 2, 1]),
        ("powders/van", "Vanilla", "dump", [4, 3, 2]),
    ]
    one = {"syrups": [{"id": "v", "name": "Vanilla"}], "powders": [{"id": "v", "name": "Vanilla"}]}
    fresh = MemoryState()
    assert not fresh.take({"event_inventory": one}).alike
    assert not fresh.take({"event_inventory": one}).alike


def test_ids_that_each_category_counts_for_itself_are_not_alike() -> None:
    state = MemoryState()
    state.take(browser("1", 3, "Oat", "milk"))
    assert not state.take(browser("1", 4, "House", "coffee")).alike


@pytest.mark.parametrize("side", ["incoming", "existing"])
def test_one_id_with_two_names(side: str) -> None:
    """An id is an id, so it is united; both names are listed, with what either side had."""
    state = MemoryState()
    state.take(browser("milk_5", 10, "Hemp"))
    receipt = state.take(browser("milk_5", 6, "Rice"), on_conflict=side)
    assert listed(receipt) == [
        (
            "same_id",
            [
                ("milk/milk_5", "Hemp", "stored", [10, 9, 8]),
                ("milk/milk_5", "Rice", "dump", [6, 5, 4]),
            ],
        )
    ]
    assert any(c.path == ("name",) for c in receipt.conflicts)
    # Another spelling, or a name where none was, is no other name.
    same = MemoryState()
    same.take(browser("milk_5", 10, "Hemp"))
    assert not same.take(browser("milk_5", 6, "hemp "), on_conflict=side).alike
    bare = MemoryState()
    bare.take({"event_inventory": {"milk": {"milk_5": {"enabled": True}}}})
    assert not bare.take(browser("milk_5", 6, "Rice"), on_conflict=side).alike


def test_an_item_that_is_matched_by_its_name_is_no_lookalike() -> None:
    state = MemoryState()
    state.take(browser("oat_1", 10))
    seed = {"event_inventory": {"milk": {"Oat": {"enabled": False}}}}
    receipt = state.take(seed)
    assert (len(receipt.matched), receipt.alike) == (1, ())
    ours = MemoryState()
    ours.take(seed)
    receipt = ours.take(browser("oat_1", 10))
    assert (len(receipt.matched), receipt.alike) == (1, ())


def test_what_has_no_name_or_no_number_is_no_fault() -> None:
    """Bare values and names that are no text are compared by nothing; stations are no items."""
    state = MemoryState()
    odd = {
        "event_inventory": {"milk": {"a": True, "b": {"name": 5}, "c": {"name": ""}}},
        "event_stock_levels": {"milk": {"d": {"quantity": "many"}}},
        "station_inventory_configs": {"1": {"name": "Left"}},
    }
    state.take(odd)
    other = {
        "event_inventory": {"milk": {"a": False, "b": {"name": "Rice"}, "c": {"name": "Soy"}}},
        "station_inventory_configs": {"1": {"name": "Right"}, "2": {"name": "Left"}},
    }
    assert not state.take(other).alike
    listed_twice = state.take({"event_inventory": {"milk": {"d": {"name": "rice"}}}}).alike
    ((cause, items),) = [(alike.cause, alike.items) for alike in listed_twice]
    assert (cause, items[1].holdings[0].quantity) == ("same_name", None)


def test_a_station_is_compared_with_itself() -> None:
    """What is left at a station has names of its own, where no inventory knows them."""
    state = MemoryState()
    kept = {"milk": [{"id": "a", "name": "Oat", "amount": 1}]}
    state.take({"coffee_stock_station_1": kept})
    other = {"milk": [{"id": "b", "name": "oat", "amount": 2}]}
    assert not state.take({"coffee_stock_station_2": other}).alike
    receipt = state.take({"coffee_stock_station_1": other})
    assert listed(receipt) == [
        ("same_name", [("1/milk/a", "Oat", "stored", [1]), ("1/milk/b", "oat", "dump", [2])])
    ]
    assert [alike.document for alike in receipt.alike] == ["coffee_stock_station_1"]
    renamed = {"milk": [{"id": "a", "name": "Rice", "amount": 4}]}
    receipt = state.take(
        {"station_inventory_configs": {"1": {"n": 1}}, "coffee_stock_station_1": renamed}
    )
    assert listed(receipt) == [
        ("same_id", [("1/milk/a", "Oat", "stored", [1]), ("1/milk/a", "Rice", "dump", [4])])
    ]
    assert [alike.document for alike in receipt.alike] == ["coffee_stock_station_1"]


def test_an_object_is_known_by_its_name_and_has_an_id_inside() -> None:
    """Its name is its address; each item is looked at, also after one that is no other."""
    stored = {"milk": {"Soy": {"id": "s"}, "Oat": {"id": "o", "n": 1}}}
    same = [{"id": "s", "name": "soy", "n": 1}, {"id": "o", "name": "Oat", "n": 2}]
    state = MemoryState()
    state.take({"event_inventory": stored})
    assert not state.take({"event_inventory": {"milk": same}}).alike
    renamed = MemoryState()
    renamed.take({"event_inventory": stored})
    (alike,) = renamed.take(
        {"event_inventory": {"milk": [same[0], {**same[1], "name": "Rice"}]}}
    ).alike
    assert (alike.cause, alike.document) == ("same_id", "event_inventory")
    assert [(item.key, item.name) for item in alike.items] == [
        (("milk", "Oat"), "Oat"), (("milk", "Oat"), "Rice"),
    ]  # fmt: skip


def test_no_name_is_like_no_other() -> None:
    state = MemoryState()
    state.take({"event_inventory": {"milk": [{"id": "a", "name": "-"}, {"id": "b", "name": " "}]}})
    assert not state.take({"event_inventory": {"milk": [{"id": "c", "name": "-"}]}}).alike


def test_numbers_of_one_dump_are_its_own() -> None:
    """Two spellings in one browser's numbers are no news, beside what others counted."""
    state = MemoryState()
    state.take({"station_inventory_quantities": {"1": {"Soy": 1}}})
    dump = {"station_inventory_quantities": {"1": {"Oat": 1, "oat": 2}}}
    assert not state.take(dump).alike
