"""One small event as the front end keeps it, and a part of it in the seed's shapes."""

from __future__ import annotations

import json
from typing import Any

from expresso_persist import Store

FRONT_END: dict[str, Any] = {
    "event_inventory": {
        "milk": [
            {"id": "milk_1", "name": "Whole Milk", "enabled": True, "category": "milk"},
            {
                "id": "milk_3",
                "name": "Oat Milk",
                "description": "of oats",
                "enabled": True,
                "category": "milk",
            },
        ],
        "syrups": [],
    },
    "event_stock_levels": {
        "milk": {
            "milk_1": {"quantity": 20, "unit": "L", "allocated": 5, "available": 15},
            "milk_3": {"quantity": 10, "unit": "L", "allocated": 0, "available": 10},
        }
    },
    "station_inventory_quantities": {
        "1": {"milk": {"milk_1": {"quantity": 5}, "milk_3": {"quantity": 2}}},
        "2": {},
    },
}
SEED: dict[str, Any] = {
    "event_inventory": {"milk": {"Oat Milk": {"enabled": False}}},
    "event_stock_levels": {
        "Oat Milk": {
            "category": "milk", "total": 12, "allocated": 1, "available": 11, "unit": "L",
        }
    },
    "station_inventory_quantities": {"1": {"Oat Milk": 4}},
}  # fmt: skip


def held(store: Store) -> dict[str, Any]:
    """Every stored document, parsed."""
    found = store.inventory.dump()["localStorage"]
    return {key: json.loads(raw) for key, raw in found.items()}
