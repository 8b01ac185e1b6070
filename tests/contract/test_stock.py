"""Stock movements over HTTP, on every adapter and database."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store

OAT = {
    "event_stock_levels": {"milk": {"oat": {"quantity": 20, "allocated": 5, "available": 15}}},
    "coffee_stock_station_1": {"milk": [{"id": "oat", "name": "Oat", "amount": 5}]},
}


@pytest.fixture
def stocked(store: Store) -> Store:
    store.importer.import_(OAT, actor="test")
    return store


def test_movements(client: Any, stocked: Store) -> None:
    body: dict[str, Any] = {"category": "milk", "item": "oat", "quantity": 2, "to_station": 1}
    key = {"Idempotency-Key": "tap"}
    first = client("POST", "/api/inventory/transfer", body, headers=key)
    again = client("POST", "/api/inventory/transfer", body, headers=key)
    assert first.status == again.status == 200
    assert first.json["revision"] == again.json["revision"] == 2
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json["data"] == {**first.json["data"], "replayed": True}
    assert first.json["data"] == {
        "movement": {
            "type": "transfer", "category": "milk", "item": "oat", "quantity": 2,
            "from_station": None, "to_station": "1",
        },
        "stock": [
            {
                "station_id": None, "category": "milk", "item": "oat", "quantity": 20,
                "negative": False, "available": 13,
            },
            {
                "station_id": "1", "category": "milk", "item": "oat", "quantity": 7,
                "negative": False,
            },
        ],
        "replayed": False,
    }  # fmt: skip
    other = client("POST", "/api/inventory/transfer", {**body, "quantity": 1}, headers=key)
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    place = {"category": "milk", "item": "Oat", "station_id": "1"}
    sold = client("POST", "/api/inventory/adjust", {**place, "delta": -8})
    assert sold.json["data"]["stock"][0]["quantity"] == -1
    assert sold.json["data"]["stock"][0]["negative"] is True
    counted = client("POST", "/api/inventory/count", {**place, "quantity": 0.5})
    assert counted.json["data"]["movement"]["difference"] == 1.5
    wasted = client(
        "POST", "/api/inventory/waste", {**place, "quantity": 0.5, "reason": "spilt", "note": "x"}
    )
    assert wasted.json["data"]["stock"][0]["quantity"] == 0
    refused = client("POST", "/api/inventory/waste", {**place, "quantity": 0.5})
    assert (refused.status, refused.json["details"][0]["message"]) == (
        422, "Object missing required field reason",
    )  # fmt: skip
    below = client("POST", "/api/inventory/adjust", {**place, "delta": -1, "floor": 0})
    assert below.status == 422
    nowhere = client("POST", "/api/inventory/adjust", {**place, "station_id": "9", "delta": 1})
    assert nowhere.status == 404
    assert stocked.inventory.head().revision == 5


@pytest.mark.parametrize("name", ["item_id", "item_name"])
def test_adjust_has_one_form(client: Any, stocked: Store, name: str) -> None:
    """A category and an item; which number of which record it is, is not guessed."""
    old = {"station_id": 1, name: "oat", "delta": -1}
    for body in (old, {**old, "category": "milk"}, {**old, "field": "amount"}):
        refused = client("POST", "/api/inventory/adjust", body)
        assert (refused.status, refused.json["code"]) == (422, "invalid_input")
        batch = {"updates": [{"type": "adjust", "data": body}]}
        assert client("POST", "/api/inventory/batch-update", batch).status == 422
    assert stocked.inventory.head().revision == 1


def test_an_adjust_in_a_batch_sees_what_comes_before_it(client: Any, stocked: Store) -> None:
    place = {"category": "milk", "item": "oat"}
    answer = client(
        "POST",
        "/api/inventory/batch-update",
        {
            "updates": [
                {"type": "adjust", "data": {**place, "delta": -0.1}},
                {"type": "adjust", "data": {**place, "delta": -0.2}},
                {
                    "type": "station_quantity",
                    "data": {"station_id": 2, "category": "milk", "item_id": "oat", "quantity": 3},
                },
                {"type": "adjust", "data": {**place, "station_id": 2, "delta": 1}},
                {"type": "adjust", "data": {**place, "station_id": 1, "delta": 1, "floor": 6}},
            ]
        },
    )
    assert (answer.status, answer.json["revision"]) == (200, 2)
    data = client("GET", "/api/inventory/get-all").json["data"]
    stock = {"quantity": 19.7, "allocated": 5, "available": 14.7}
    assert data["event_stock_levels"] == {"milk": {"oat": stock}}
    assert data["station_inventory_quantities"]["2"] == {"milk": {"oat": {"quantity": 4}}}
    assert data["station_stock"]["1"]["milk"][0]["amount"] == 6
    below = {"type": "adjust", "data": {**place, "station_id": 1, "delta": -1, "floor": 6}}
    refused = client("POST", "/api/inventory/batch-update", {"updates": [below]})
    assert (refused.status, refused.json["data"]["value"]) == (422, 6)


def test_an_adjust_in_a_batch_adds_and_sets_nothing(client: Any, stocked: Store) -> None:
    """So that a batch that is offered after a loss goes with what others set meanwhile."""
    place = {"category": "milk", "item": "oat"}
    level = {"category": "milk", "item_id": "oat", "total": 10}
    assert client("POST", "/api/inventory/event-stock/update", level).status == 200
    updates = [
        {"type": "adjust", "data": {**place, "delta": 2}},
        {"type": "setting", "data": {"key": "open", "value": 1}},
    ]
    assert client("POST", "/api/inventory/batch-update", {"updates": updates}).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    stock = {"quantity": 12, "allocated": 5, "available": 17}
    assert data["event_stock_levels"] == {"milk": {"oat": stock}}
