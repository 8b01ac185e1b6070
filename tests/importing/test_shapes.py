"""Dumps of one shape into documents of another: the stored shape stays."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import ConflictRefused
from expresso_persist.model import json_text
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import read_update
from memory_state import MemoryState
from shapes import FRONT_END, SEED, held


def test_the_seeds_shapes_into_the_front_ends(store: Store) -> None:
    """A name means the item that has it, in all documents; the receipt says which."""
    store.importer.import_(FRONT_END, actor="test")
    receipt = store.importer.import_(SEED, actor="test")
    found = held(store)
    expected = {
        **FRONT_END,
        "event_inventory": {
            "milk": [
                FRONT_END["event_inventory"]["milk"][0],
                {**FRONT_END["event_inventory"]["milk"][1], "enabled": False},
            ],
            "syrups": [],
        },
        "event_stock_levels": {
            "milk": {
                "milk_1": FRONT_END["event_stock_levels"]["milk"]["milk_1"],
                "milk_3": {"quantity": 12, "unit": "L", "allocated": 1, "available": 11},
            }
        },
        "station_inventory_quantities": {
            "1": {"milk": {"milk_1": {"quantity": 5}, "milk_3": {"quantity": 4}}},
            "2": {},
        },
    }
    assert found == expected
    assert [match.to_json() for match in receipt.matched] == [
        {
            "document": "event_inventory",
            "incoming": ["milk", "Oat Milk"],
            "stored": ["milk", "milk_3"],
        },
        {
            "document": "event_stock_levels",
            "incoming": ["milk", "Oat Milk"],
            "stored": ["milk", "milk_3"],
        },
        {
            "document": "station_inventory_quantities",
            "incoming": ["1", "", "Oat Milk"],
            "stored": ["1", "milk", "milk_3"],
        },
    ]
    places = {(c.key, c.path, c.existing, c.incoming) for c in receipt.conflicts}
    assert (("milk", "milk_3"), ("enabled",), True, False) in places
    assert (("milk", "milk_3"), ("quantity",), 10, 12) in places
    assert not store.importer.import_(SEED, actor="test").committed
    assert store.inventory.verify().ok


def test_the_front_ends_shapes_into_the_seeds(store: Store) -> None:
    """The objects stay objects, the flat shapes flat; ids and other members are not lost."""
    store.importer.import_(SEED, actor="test")
    receipt = store.importer.import_(FRONT_END, actor="test")
    found = held(store)
    assert found["event_inventory"] == {
        "milk": {
            "Oat Milk": {
                "enabled": True,
                "id": "milk_3",
                "name": "Oat Milk",
                "description": "of oats",
                "category": "milk",
            },
            "Whole Milk": FRONT_END["event_inventory"]["milk"][0],
        },
        "syrups": {},
    }
    assert found["event_stock_levels"] == {
        "Oat Milk": {
            "category": "milk", "total": 10, "allocated": 0, "available": 10, "unit": "L",
        },
        "Whole Milk": {
            "category": "milk", "total": 20, "unit": "L", "allocated": 5, "available": 15,
        },
    }  # fmt: skip
    assert found["station_inventory_quantities"] == {"1": {"Oat Milk": 2, "Whole Milk": 5}, "2": {}}
    assert len(receipt.matched) == 3
    assert not store.importer.import_(FRONT_END, actor="test").committed
    assert not store.importer.import_(FRONT_END, actor="test").committed
    # Stock alone, by ids that only the united inventory knows.
    again = store.importer.import_(
        {"event_stock_levels": FRONT_END["event_stock_levels"]}, actor="test"
    )
    assert not again.committed


def test_what_only_the_dump_has_takes_the_stored_form(store: Store) -> None:
    """A list's item has an id and a name; nested stock is keyed by the id and spelled so."""
    store.importer.import_(FRONT_END, actor="test")
    new = {
        "event_inventory": {"milk": {"Hemp": {"enabled": False}}, "tea": {"Green": {}}},
        "event_stock_levels": {
            "Hemp": {"category": "milk", "total": 3, "allocated": 1, "available": 2, "unit": "L"}
        },
        "station_inventory_quantities": {"1": {"Hemp": 1}},
    }
    store.importer.import_(new, actor="test")
    found = held(store)
    assert found["event_inventory"]["milk"][2] == {
        "id": "Hemp", "name": "Hemp", "enabled": False, "category": "milk",
    }  # fmt: skip
    assert found["event_inventory"]["tea"] == [
        {"id": "Green", "name": "Green", "enabled": True, "category": "tea"}
    ]
    assert found["event_stock_levels"]["milk"]["Hemp"] == {
        "quantity": 3, "allocated": 1, "available": 2, "unit": "L",
    }  # fmt: skip
    assert found["station_inventory_quantities"]["1"]["milk"]["Hemp"] == {"quantity": 1}
    assert not store.importer.import_(new, actor="test").committed


def test_a_new_stock_item_gets_the_id_that_the_inventory_has(store: Store) -> None:
    """For an import as for an update, though there is no stock of it yet."""
    store.importer.import_(
        {
            "event_inventory": FRONT_END["event_inventory"],
            "event_stock_levels": {"milk": {"milk_1": {"quantity": 1}}},
        },
        actor="test",
    )
    updated = store.for_tenant("updated")
    updated.importer.import_(store.inventory.dump(), actor="test")
    store.importer.import_({"event_stock_levels": SEED["event_stock_levels"]}, actor="test")
    data = {"item_name": "Oat Milk", "category": "milk", "total_quantity": 12}
    update = update_operations([read_update("event_stock", data)])
    updated.inventory.commit(update, actor="test")
    for one in (store, updated):
        stock = held(one)["event_stock_levels"]
        assert [*stock] == ["milk"]
        assert [*stock["milk"]] == ["milk_1", "milk_3"]
        assert stock["milk"]["milk_3"]["quantity"] == 12


def test_an_update_after_the_merge_means_the_same_item(store: Store) -> None:
    store.importer.import_(SEED, actor="test")
    store.importer.import_(FRONT_END, actor="test")
    for name in ("Oat Milk", "milk_3"):
        data = {"station_id": 1, "item_name": name, "quantity": 9}
        update = update_operations([read_update("station_quantity", data)])
        store.inventory.commit(update, actor="test")
    assert held(store)["station_inventory_quantities"]["1"] == {"Oat Milk": 9, "Whole Milk": 5}


@pytest.mark.parametrize("on_conflict", ["incoming", "existing"])
def test_an_ambiguous_name_is_not_guessed(store: Store, on_conflict: Any) -> None:
    """Two items of the name: the dump's stays apart, and the receipt says so."""
    twins = [
        {"id": "milk_3", "name": "Oat Milk", "enabled": True},
        {"id": "milk_7", "name": "Oat Milk", "enabled": True},
    ]
    stock = {"milk": {"milk_3": {"quantity": 1}, "milk_7": {"quantity": 2}}}
    stored = {"event_inventory": {"milk": twins}, "event_stock_levels": stock}
    store.importer.import_(stored, actor="test")
    alone = store.for_tenant("alone")
    alone.importer.import_(stored, actor="test")
    for tenant, dump, conflict in (
        (store, SEED, ("event_inventory", ("milk", "Oat Milk"), "ambiguous", "both")),
        (
            alone,
            {"event_stock_levels": SEED["event_stock_levels"]},
            ("event_stock", ("milk", "Oat Milk"), "ambiguous", "both"),
        ),
    ):
        with pytest.raises(ConflictRefused):
            tenant.importer.import_(dump, actor="test", on_conflict="fail")
        receipt = tenant.importer.import_(dump, actor="test", on_conflict=on_conflict)
        assert not receipt.matched
        assert [(c.kind, c.key, c.cause, c.resolution) for c in receipt.conflicts] == [conflict]
        found = held(tenant)
        assert found["event_inventory"]["milk"][:2] == twins
        assert found["event_stock_levels"]["milk"]["milk_3"] == {"quantity": 1}
        assert found["event_stock_levels"]["milk"]["Oat Milk"]["quantity"] == 12
        assert not tenant.importer.import_(dump, actor="test", on_conflict=on_conflict).committed
    assert held(store)["event_inventory"]["milk"][2]["enabled"] is False


def test_two_items_of_the_dump_with_one_name_stay_two(store: Store) -> None:
    store.importer.import_(FRONT_END, actor="test")
    doubled = {"milk": [{"name": "Oat Milk", "n": 1}, {"name": "Oat Milk", "n": 2}]}
    receipt = store.importer.import_({"event_inventory": doubled}, actor="test")
    assert [c.cause for c in receipt.conflicts] == ["ambiguous", "ambiguous"]
    milk = held(store)["event_inventory"]["milk"]
    assert [item.get("n") for item in milk] == [None, None, 1, 2]
    assert not store.importer.import_({"event_inventory": doubled}, actor="test").committed


def test_bare_values_meet_objects(store: Store) -> None:
    """true for an item, a number for its stock: the main member of the object."""
    store.importer.import_(FRONT_END, actor="test")
    bare = {
        "event_inventory": {"milk": {"Oat Milk": False}},
        "event_stock_levels": {"Oat Milk": 7},
        "station_inventory_quantities": {"1": {"Oat Milk": 3}},
    }
    store.importer.import_(bare, actor="test")
    found = held(store)
    assert found["event_inventory"]["milk"][1]["enabled"] is False
    assert found["event_stock_levels"]["milk"]["milk_3"]["quantity"] == 7
    assert found["station_inventory_quantities"]["1"]["milk"]["milk_3"] == {"quantity": 3}
    other = store.for_tenant("other")
    other.importer.import_(bare, actor="test")
    other.importer.import_(FRONT_END, actor="test")
    found = held(other)
    assert found["event_inventory"]["milk"]["Oat Milk"]["description"] == "of oats"
    assert found["event_stock_levels"]["Oat Milk"]["total"] == 10
    assert found["station_inventory_quantities"]["1"]["Oat Milk"] == 2


def test_a_document_that_updates_made_takes_the_shape_of_the_first_dump(store: Store) -> None:
    """Nothing says in which shape it is wanted until a browser's is there."""
    updates = [
        ("event_inventory", {"category": "milk", "item_name": "Oat Milk", "enabled": False}),
        ("event_stock", {"category": "milk", "item_name": "Oat Milk", "total_quantity": 8}),
        ("station_quantity", {"station_id": 1, "item_name": "Oat Milk", "quantity": 6}),
    ]
    made = [read_update(kind, data) for kind, data in updates]
    store.inventory.commit(update_operations(made), actor="test")
    receipt = store.importer.import_(FRONT_END, actor="test", on_conflict="existing")
    found = held(store)
    assert [item["id"] for item in found["event_inventory"]["milk"]] == ["milk_3", "milk_1"]
    assert found["event_inventory"]["milk"][0]["enabled"] is False
    assert found["event_inventory"]["milk"][0]["description"] == "of oats"
    assert found["event_stock_levels"]["milk"]["milk_3"]["quantity"] == 8
    assert found["station_inventory_quantities"]["1"]["milk"]["milk_3"] == {"quantity": 6}
    assert {removal.kind for removal in receipt.removals} == {
        "event_inventory", "event_stock", "station_quantity",
    }  # fmt: skip
    assert not store.importer.import_(FRONT_END, actor="test", on_conflict="existing").committed


@pytest.mark.parametrize("empty", [{}, [], None, "", {"milk": []}, {"milk": {}}, {"milk": None}])
def test_nothing_empty_takes_the_place_of_items(store: Store, empty: Any) -> None:
    """Neither an empty document nor an empty category; the receipt lists it as kept."""
    store.importer.import_(FRONT_END, actor="test")
    before = store.inventory.snapshot()
    receipt = store.importer.import_({"event_inventory": empty}, actor="test")
    assert store.inventory.snapshot() == before
    assert [(c.cause, c.resolution) for c in receipt.conflicts] == [("empty", "existing")]
    assert [(key.outcome, key.kept) for key in receipt.keys] == [("kept", 1)]
    replaced = store.importer.import_({"event_inventory": empty}, actor="test", mode="replace")
    assert replaced.committed
    raw = store.inventory.dump()["localStorage"]["event_inventory"]
    assert raw == (empty if empty == "" else json_text.dumps(empty))


def test_a_shape_that_no_rows_have_is_a_conflict(store: Store) -> None:
    """Either way round; with existing the stored document stays whole."""
    odd, known = {"event_inventory": [1]}, {"event_inventory": FRONT_END["event_inventory"]}
    for name, first, second in (("a", odd, known), ("b", known, odd)):
        tenant = store.for_tenant(name)
        tenant.importer.import_(first, actor="test")
        kept = tenant.importer.import_(second, actor="test", on_conflict="existing")
        assert [(c.cause, c.resolution) for c in kept.conflicts] == [("shape", "existing")]
        assert kept.totals["kept"] == 1
        assert held(tenant) == first
        taken = tenant.importer.import_(second, actor="test")
        assert taken.committed
        assert held(tenant) == second
        assert not tenant.importer.import_(second, actor="test").committed
        assert {r.reason for r in taken.removals} == {"the dump has this document in another shape"}


def test_documents_that_cannot_be_one_stay_as_they_are(store: Store) -> None:
    """A flat item with the name of a category: the stored document stays, and that is said."""
    store.importer.import_(FRONT_END, actor="test")
    before = held(store)
    receipt = store.importer.import_({"event_stock_levels": {"milk": 5}}, actor="test")
    assert [(c.cause, c.resolution) for c in receipt.conflicts] == [("shape", "existing")]
    assert held(store) == before


def test_a_part_of_a_document_leaves_its_raw_text(store: Store) -> None:
    """What changes nothing commits nothing, though the browser wrote the whole with spaces."""
    raw = '{ "milk": [ {"id": "a", "n": 1}, {"id": "b"} ] }'
    store.importer.import_({"localStorage": {"event_inventory": raw}}, actor="test")
    part = {"event_inventory": {"milk": [{"id": "a"}]}}
    assert not store.importer.import_(part, actor="test").committed
    assert store.inventory.dump()["localStorage"]["event_inventory"] == raw


def test_a_moved_flat_item_is_one_item(store: Store) -> None:
    """In the flat shape a name occurs once; another category moves it."""
    first = {"event_stock_levels": {"Oat": {"category": "milk", "total": 1}}}
    second = {"event_stock_levels": {"Oat": {"category": "vegan", "total": 2}}}
    store.importer.import_(first, actor="test")
    store.importer.import_(second, actor="test")
    assert held(store) == second
    assert [r.parts for r in store.inventory.records("event_stock")] == [("vegan", "Oat")]
    assert not store.importer.import_(second, actor="test").committed


def test_an_id_made_from_a_name_gives_way_to_the_browsers(store: Store) -> None:
    """The seed's name first, a front end with the item's real id later: still one item."""
    known = {**FRONT_END["event_inventory"]["milk"][0]}
    first = {
        "event_inventory": {"milk": [known]},
        "event_stock_levels": {"milk": {"milk_1": {"quantity": 1}}},
        "station_inventory_quantities": {"1": {"milk": {"milk_1": {"quantity": 1}}}},
    }
    store.importer.import_(first, actor="test")
    store.importer.import_(SEED, actor="test")
    assert [i["id"] for i in held(store)["event_inventory"]["milk"]] == ["milk_1", "Oat Milk"]
    store.importer.import_(FRONT_END, actor="test")
    found = held(store)
    assert [i["id"] for i in found["event_inventory"]["milk"]] == ["milk_1", "milk_3"]
    assert [*found["event_stock_levels"]["milk"]] == ["milk_1", "milk_3"]
    assert [*found["station_inventory_quantities"]["1"]["milk"]] == ["milk_1", "milk_3"]
    for dump in (FRONT_END, SEED, FRONT_END):
        store.importer.import_(dump, actor="test")
        assert len(held(store)["event_inventory"]["milk"]) == 2
    assert not store.importer.import_(FRONT_END, actor="test").committed
    assert store.inventory.verify().ok


def test_an_import_that_renamed_an_item_changes_nothing_the_second_time() -> None:
    """The order of its members is settled the first time."""
    state = MemoryState()
    state.take({"event_inventory": {"milk": [], "1": [{"id": "milk", "name": "milk"}]}})
    dump = {"event_inventory": {"1": [{"name": "milk", "id": "coffee"}]}}
    assert state.take(dump).committed
    assert not state.take(dump).committed


@pytest.mark.parametrize(
    "nothing", ["[null]", "[{}]", "[[]]", '[{"id":null}]', '{"a":null}', '[""]']
)
def test_what_holds_nothing_is_empty_however_deep(store: Store, nothing: str) -> None:
    full = '[{"id":1,"name":"early"},{"id":2,"name":"late"}]'
    store.importer.import_({"localStorage": {"shifts": full}}, actor="anna")
    receipt = store.importer.import_({"localStorage": {"shifts": nothing}}, actor="anna")
    assert receipt.totals["kept"] == 1
    assert [conflict.cause for conflict in receipt.conflicts] == ["empty"]
    assert store.inventory.dump()["localStorage"]["shifts"] == full


def test_a_document_of_empty_members_changes_nothing(store: Store) -> None:
    """However its nothing is written, it is nothing beside something."""
    full = {"event_inventory": {"milk": False}, "event_stock_levels": {"Oat": {"total": 1}}}
    store.importer.import_(full, actor="test")
    for nothing in ({"cups": None}, {"cups": {"a": None, "b": ""}}, {"cups": [None]}, {}):
        dump = {"event_inventory": nothing, "event_stock_levels": nothing}
        receipt = store.importer.import_(dump, actor="test")
        assert (receipt.committed, receipt.totals["kept"]) == (False, 2)
    assert held(store) == full


@pytest.mark.parametrize("emptied", [[], {}])
def test_an_emptied_category_says_what_stays_in_it(emptied: Any) -> None:
    """The names of what the category has, and of nothing beside or below it."""
    state = MemoryState()
    state.take({"event_inventory": {"milk": {"b": {"n": 1}, "a": True}, "tea": {"c": {}}}})
    receipt = state.take({"event_inventory": {"milk": emptied, "tea": {"d": {"n": 1}}}})
    (conflict,) = receipt.conflicts
    assert (conflict.key, conflict.cause, conflict.resolution) == (("milk",), "empty", "existing")
    assert (conflict.existing, conflict.incoming) == (["a", "b"], emptied)
    stations = {"1": {"milk": {"b": {"quantity": 1}}, "tea": {"c": {"quantity": 2}}}}
    state.take({"station_inventory_quantities": stations})
    receipt = state.take(
        {"station_inventory_quantities": {"1": {"milk": emptied, "tea": {"d": {"quantity": 1}}}}}
    )
    (conflict,) = receipt.conflicts
    assert (conflict.key, conflict.existing) == (("1", "milk"), ["b"])
