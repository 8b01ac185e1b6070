"""Two browsers and any names: no item is lost, doubled or united without a word."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expresso_persist.errors import ConflictRefused, InvalidInput
from expresso_persist.importing.lookalikes import folded
from expresso_persist.model.operations import apply
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import read_update
from memory_state import MemoryState

CATEGORIES = ("milk", "syrups")
names = st.sampled_from(["Oat", "oat ", "OAT", "Caf\u00e9", "Cafe\u0301", "Soy", "Vanilla"])
places = st.tuples(st.sampled_from(CATEGORIES), st.sampled_from(["a", "b", "c", "d"]))
browsers = st.dictionaries(places, st.tuples(names, st.integers(0, 9)), max_size=4)


def dump(items: dict[tuple[str, str], tuple[str, int]]) -> dict[str, Any]:
    """The items of one browser as the front end keeps them."""
    by_category = {
        category: [(item, *value) for (where, item), value in items.items() if where == category]
        for category in CATEGORIES
    }
    return {
        "event_inventory": {
            category: [{"id": item, "name": name} for item, name, _ in found]
            for category, found in by_category.items()
        },
        "event_stock_levels": {
            category: {item: {"quantity": number} for item, _, number in found}
            for category, found in by_category.items()
        },
    }


@settings(max_examples=60)
@given(first=browsers, second=browsers, side=st.sampled_from(["incoming", "existing"]))
def test_what_looks_alike_is_listed_and_stays(first: Any, second: Any, side: Any) -> None:
    """Each address of either browser is there; those of one name are listed together."""
    state = MemoryState()
    state.take(dump(first))
    receipt = state.take(dump(second), on_conflict=side)
    stored = {record.parts: record for record in state.all("event_inventory")}
    assert {*stored} == {*first, *second}
    assert {record.parts for record in state.all("event_stock")} == {*stored}
    listed = {
        frozenset(item.key for item in alike.items): alike
        for alike in receipt.alike
        if alike.cause != "same_id"
    }
    called = {key: folded(str(record.columns()["item_name"])) for key, record in stored.items()}
    for one in {*first} - {*second}:
        for other in second:
            together = any({one, other} <= group for group in listed)
            assert together == (called[one] == called[other])
    for group in listed:
        assert len({called[key] for key in group}) == 1
        assert group & {*second}
    numbers = {
        record.parts: record.columns()["total_quantity"] for record in state.all("event_stock")
    }
    for alike in listed.values():
        for item in alike.items:
            (holding,) = item.holdings
            assert (holding.key, holding.quantity) == (item.key, numbers[item.key])
    same = {alike.items[0].key: alike for alike in receipt.alike if alike.cause == "same_id"}
    renamed = {
        key for key in {*first} & {*second} if folded(first[key][0]) != folded(second[key][0])
    }
    assert {*same} == renamed
    for key, alike in same.items():
        ours, theirs = ([h.quantity for h in item.holdings] for item in alike.items)
        assert (ours, theirs) == ([first[key][1]], [second[key][1]])
    assert not state.take(dump(second), on_conflict=side).committed


@settings(max_examples=60)
@given(
    inventory=browsers,
    counted=st.sets(places, max_size=3),
    name=names | st.sampled_from(["a", "b", "new"]),
    kind=st.sampled_from(["event_stock", "station_quantity"]),
)
def test_a_number_lies_under_a_category_or_nothing_is_written(
    inventory: Any, counted: set[tuple[str, str]], name: str, kind: str
) -> None:
    """Without a category: with the one item that is meant, or a refusal; never beside them."""
    state = MemoryState()
    numbers: dict[str, Any] = {"milk": {"x": {"quantity": 1}}}
    for category, item in counted:
        numbers.setdefault(category, {})[item] = {"quantity": 1}
    stations = {"1": numbers, "2": {}}
    state.take({**dump(inventory), "event_stock_levels": numbers,
                "station_inventory_quantities": stations})  # fmt: skip
    shown = {parts[-2:] for parts in (r.parts for r in state.all(kind)) if parts[-1] == name}
    by_id = {key for key in inventory if key[1] == name}
    meant = shown or by_id or {key for key, (called, _) in inventory.items() if called == name}
    extra = {"total": 5} if kind == "event_stock" else {"station_id": 1, "quantity": 5}
    decide = update_operations([read_update(kind, {"item_name": name, **extra})])
    if len(meant) != 1:
        with pytest.raises(ConflictRefused if meant else InvalidInput):
            decide(state)
        return
    (change,) = apply(decide(state), state.at)
    assert {change.key.parts[-2:]} == meant


@given(form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), name=st.text(max_size=12))
@settings(max_examples=60)
def test_a_name_is_one_in_each_form(form: Any, name: str) -> None:
    assert folded(unicodedata.normalize(form, name)) == folded(name)
    assert folded(f" {name.upper()} ") == folded(name.upper())
