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
