"""The first number of an item lies where the stored layout has its like, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store
from shapes import held

STOCK = "/api/inventory/event-stock/update"
ALLOTMENT = "/api/inventory/station-quantity/update"
NESTED: dict[str, Any] = {
    "event_inventory": {
        "milk": [{"id": "milk_3", "name": "Oat"}, {"id": "van_1", "name": "Vanilla"}],
        "syrups": [{"id": "van_2", "name": "Vanilla"}],
    },
    "event_stock_levels": {"milk": {"milk_1": {"quantity": 1}}, "syrups": {}},
    "station_inventory_quantities": {"1": {"milk": {"milk_1": {"quantity": 1}}}, "2": {}},
}


def updates(item: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every request that may make the first number of an item."""
    requests = [(STOCK, {**item, "total": 5})]
    requests += [(ALLOTMENT, {"station_id": n, **item, "quantity": 5}) for n in (1, 2, 3)]
    kinds = {STOCK: "event_stock", ALLOTMENT: "station_quantity"}
    batches = [{"updates": [{"type": kinds[path], "data": body}]} for path, body in requests]
    return [*requests, *(("/api/inventory/batch-update", batch) for batch in batches)]


@pytest.mark.parametrize("item", [{"item_name": "Oat"}, {"item_id": "milk_3"}])
def test_the_one_item_that_is_meant_goes_under_its_category(
    client: Any, store: Store, item: dict[str, Any]
) -> None:
    store.importer.import_(NESTED, actor="test")
    for path, body in updates(item):
        assert client("POST", path, body).status == 200
    found = held(store)
    stock, allotted = found["event_stock_levels"], found["station_inventory_quantities"]
    assert {name: [*items] for name, items in stock.items()} == {
        "milk": ["milk_1", "milk_3"], "syrups": [],
    }  # fmt: skip
    assert stock["milk"]["milk_3"]["quantity"] == 5
    oat = {"milk_3": {"quantity": 5}}
    assert allotted == {
        "1": {"milk": {"milk_1": {"quantity": 1}, **oat}}, "2": {"milk": oat}, "3": {"milk": oat},
    }  # fmt: skip


def test_without_a_place_nothing_is_written(client: Any, store: Store) -> None:
    """Several items: 409 with all of them; none: 422, the category is asked for."""
    store.importer.import_(NESTED, actor="test")
    before, head = held(store), store.inventory.head()
    for path, body in updates({"item_name": "Vanilla"}):
        answer = client("POST", path, body)
        assert (answer.status, answer.json["code"]) == (409, "conflict")
        assert answer.json["data"]["keys"] == [["milk", "van_1"], ["syrups", "van_2"]]
        assert "milk/van_1, syrups/van_2" in answer.json["error"]
    for item in ({"item_name": "Rice"}, {"item_id": "r"}, {"item_name": "Rice", "category": ""}):
        for path, body in updates(item):
            answer = client("POST", path, body)
            assert answer.status == 422
            place = "updates[0].data.category" if "updates" in body else "category"
            assert [one["path"] for one in answer.json["details"]] == [place]
    count = {"category": "", "item": "Rice", "quantity": 2}
    for place in ({}, {"station_id": 1}):
        assert client("POST", "/api/inventory/count", {**count, **place}).status == 422
    assert (held(store), store.inventory.head()) == (before, head)


def test_one_of_two_items_of_a_name_having_numbers_does_not_say_which(
    client: Any, store: Store
) -> None:
    store.importer.import_(NESTED, actor="test")
    named = {"item_name": "Vanilla", "category": "syrups"}
    for path, body in updates(named)[:2]:
        assert client("POST", path, body).status == 200
    for path, body in updates({"item_name": "Vanilla"})[:2]:
        assert client("POST", path, body).status == 409
    for place in ({}, {"station_id": 1}):
        body = {"category": "", "item": "Vanilla", "delta": -1, **place}
        assert client("POST", "/api/inventory/adjust", body).status == 404
    assert held(store)["event_stock_levels"]["syrups"]["van_2"]["quantity"] == 5


def test_flat_documents_stay_flat(client: Any, store: Store) -> None:
    """What has no categories in it gets none, by a name or with one."""
    flat = {
        "event_inventory": {**NESTED["event_inventory"], "tea": [{"id": "t", "name": "Green"}]},
        "event_stock_levels": {"Whole": {"category": "milk", "total": 1}},
        "station_inventory_quantities": {"1": {"Whole": 1}, "2": {}},
    }
    store.importer.import_(flat, actor="test")
    for path, body in updates({"item_name": "Oat"}):
        assert client("POST", path, body).status == 200
    for path, body in updates({"item_name": "Green", "category": "tea"}):
        assert client("POST", path, body).status == 200
    found = held(store)
    stock = found["event_stock_levels"]
    assert {name: (item["category"], item["total"]) for name, item in stock.items()} == {
        "Whole": ("milk", 1), "Oat": ("milk", 5), "Green": ("tea", 5),
    }  # fmt: skip
    new = {"Oat": 5, "Green": 5}
    assert found["station_inventory_quantities"] == {"1": {"Whole": 1, **new}, "2": new, "3": new}


def test_a_document_that_updates_made_is_as_its_records(client: Any, store: Store) -> None:
    """Nothing was imported: the first number says whether the station has categories."""
    body = {"station_id": 1, "item_name": "Oat", "quantity": 1}
    assert client("POST", ALLOTMENT, {**body, "category": "milk"}).status == 200
    assert client("POST", ALLOTMENT, {**body, "item_name": "Soy"}).status == 422
    assert client("POST", ALLOTMENT, body).status == 200
    found = held(store)["station_inventory_quantities"]
    assert found == {"1": {"milk": {"Oat": {"quantity": 1}}}}
