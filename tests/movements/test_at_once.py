"""Many taps at once: each counts once, whichever process or thread carried it out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from expresso_persist import Store

STOCK = {
    "event_stock_levels": {"milk": {"oat": {"quantity": 100, "allocated": 0, "available": 100}}},
    "coffee_stock_station_1": {"milk": [{"id": "oat", "amount": 0}]},
    "coffee_stock_station_2": {"milk": [{"id": "oat", "amount": 0}]},
}


def test_each_tap_counts_once(store: Store) -> None:
    """Twelve taps, each sent three times by an impatient person."""
    store.importer.import_(STOCK, actor="test")

    def tap(number: int) -> Any:
        key, inventory = f"tap-{number % 12}", store.inventory
        if number % 2:
            return inventory.transfer(
                "milk", "oat", 0.1, to_station="1", actor="anna", idempotency_key=key
            )
        return inventory.transfer(
            "milk", "oat", 0.1, from_station="1", to_station="2", actor="anna", idempotency_key=key
        )

    with ThreadPoolExecutor(6) as pool:
        moved = list(pool.map(tap, range(36)))
    assert sum(not move.replayed for move in moved) == 12
    assert len({move.commit.revision for move in moved}) == 12
    for first, *others in zip(moved[:12], moved[12:24], moved[24:], strict=True):
        assert all((o.movement, o.stock) == (first.movement, first.stock) for o in others)
    amounts = [
        record.data["amount"]  # type: ignore[index,call-overload]
        for record in store.inventory.records("station_stock")
    ]
    assert amounts == [0, 0.6]
    event: Any = store.inventory.get("event_stock", "milk", "oat").data  # type: ignore[union-attr]
    assert (event["quantity"], event["allocated"], event["available"]) == (100, 0.6, 99.4)
    assert store.inventory.verify().ok
