"""A made-up event in the shapes that the real front end writes, for something to look at.

Everything is derived from the short tables below, so that the documents agree with one
another the way they do in a browser: stock is what was bought, allotments are part of it,
and each station's live stock is what is left of its allotment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expresso_persist.importing.receipt import Receipt
from expresso_persist.model import json_text
from expresso_persist.store import Store

__all__ = ["demo_dump", "load_demo"]

# category: unit of the event's stock, then (name, description, stock bought) per item.
_OFFER: dict[str, tuple[str, list[tuple[str, str, float]]]] = {
    "milk": (
        "L",
        [
            ("Full Cream", "Fresh from the valley dairy", 60),
            ("Skim", "Low in fat", 18.5),
            ("Lactose Free", "Full cream without lactose", 12),
            ("Oat", "Barista edition, foams well", 48),
            ("Almond", "Unsweetened", 20),
            ("Soy", "Organic", 24),
            ("Coconut", "For iced drinks", 8),
            ("Macadamia", "Contains nuts", 6),
            ("Rice", "No nuts, no soy", 4.25),
        ],
    ),
    "coffee": (
        "kg",
        [
            ("House Blend", "Chocolate and hazelnut", 14),
            ("Single Origin Huila", "Red apple and panela", 5.5),
            ("Single Origin Guji", "Jasmine and peach", 4),
            ("Dark Roast", "For those who take it short", 6),
            ("Decaf", "Sugar cane process", 3),
            ("Half Caff", "Half house, half decaf", 1.5),
            ("Batch Brew", "Ground coarse this morning", 4.75),
            ("Cold Brew", "Steeped for 18 hours", 3.25),
            ("Filter Kenya", "Blackcurrant", 2),
            ("Espresso Ristretto", "Short and sweet", 2.125),
        ],
    ),
    "cups": (
        "units",
        [
            ("Piccolo", "120 ml", 300),
            ("Small", "240 ml", 1200),
            ("Medium", "350 ml", 1500),
            ("Large", "470 ml", 600),
        ],
    ),
    "syrups": (
        "bottles",
        [
            ("Vanilla", "With real seeds", 9),
            ("Caramel", "Salted", 8),
            ("Hazelnut", "Contains nuts", 6),
            ("Crème de Noisette \N{HOT BEVERAGE}", "The barista's favourite", 2),
        ],
    ),
    "sweeteners": ("units", [("White Sugar", "Sachets", 800), ("Honey", "Squeeze bottle", 12)]),
    "extras": ("units", [("Chai Mix", "Spiced", 10), ("Cocoa", "For the foam", 6)]),
}
_CUPS = {"Piccolo": (120, 1), "Small": (240, 1), "Medium": (350, 2), "Large": (470, 2)}

# Each station takes this share of the stock, and has this much of its share left.
_STATIONS = [
    ("1", "Main Hall", "Foyer, left of the stairs", "Anna", 0.4, 0.35),
    ("2", "Garden Cart", "Courtyard", "Björn", 0.3, 0.8),
    ("3", "Speakers' Lounge", "Second floor", "Chidi", 0.1, 0.12),
]
# The cart has no room for these; the lounge serves no extras.
_NOT_AT = {("2", "Batch Brew"), ("2", "Macadamia"), ("3", "Chai Mix"), ("3", "Cocoa")}
_MENU = [
    ("espresso", "Espresso", False, {"single": 3.5, "double": 4}),
    ("flat-white", "Flat White", True, {"small": 4.5, "medium": 5}),
    ("latte", "Latte", True, {"small": 4.5, "medium": 5, "large": 5.75}),
    ("cappuccino", "Cappuccino", True, {"small": 4.5, "medium": 5}),
    ("long-black", "Long Black", False, {"small": 4, "medium": 4.5}),
    ("cold-brew-tonic", "Cold Brew Tonic", False, {"medium": 6.25}),
    ("chai-latte", "Chai Latte", True, {"small": 4.75, "medium": 5.25}),
]


def demo_dump() -> dict[str, Any]:
    """The event as a browser would hand it over: localStorage keys with their raw strings."""
    documents: dict[str, Any] = {
        "event_inventory": {category: list(_items(category)) for category in _OFFER},
        "event_stock_levels": {category: _stock(category) for category in _OFFER},
        "station_inventory_configs": _per_station(lambda _station, _item: True),
        "station_inventory_quantities": _per_station(
            lambda station, item: {"quantity": _share(station, item)}
        ),
        "event_menu": {
            drink: {
                "id": drink,
                "name": name,
                "enabled": True,
                "requiresMilk": milk,
                "sizes": {size: {"enabled": True, "price": price} for size, price in sizes.items()},
                "stationAvailability": {station[0]: True for station in _STATIONS},
            }
            for drink, name, milk, sizes in _MENU
        },
        "coffee_cue_stations": [
            {
                "id": int(station),
                "name": name,
                "location": location,
                "status": "active",
                "barista": barista,
                "currentLoad": 0,
            }
            for station, name, location, barista, _, _ in _STATIONS
        ],
        "coffee_system_branding": {
            "systemName": "Coffee Cue",
            "clientName": "Riverside Makers' Fair",
            "primaryColor": "#6f4e37",
            "customBranding": True,
        },
        "coffee_cue_settings": {"soundEnabled": True, "autoPrint": False, "displayTimeout": 30},
        "sms_settings": {"enabled": False, "template": "{name}, your {drink} is ready"},
        "coffee_cue_schedule": {
            "shifts": [
                {"id": number, "stationId": int(station[0]), "barista": station[3]}
                | {"start": "08:30", "end": "13:00"}
                for number, station in enumerate(_STATIONS, start=1)
            ],
            "breaks": [{"id": 1, "stationId": 1, "start": "10:45", "end": "11:00"}],
            "rushPeriods": [{"id": 1, "start": "10:00", "end": "10:30", "label": "Morning tea"}],
        },
    }
    raw = {key: json_text.dumps(value) for key, value in documents.items()}
    for station in _STATIONS:
        raw[f"coffee_stock_station_{station[0]}"] = json_text.dumps(_live_stock(station[0]))
        raw[f"coffee_station_name_{station[0]}"] = station[1]
    raw |= {"event_menu_version": "2.0", "global_menu_enabled": "true", "coffee_wait_time": "6"}
    return {"origin": "demo", "device_id": "demo", "localStorage": raw}


def load_demo(store: Store) -> Receipt | None:
    """Import the demo event, unless the tenant ever had data; ``None`` then."""
    if store.inventory.head().revision != 0:
        return None
    return store.importer.import_(demo_dump(), actor="demo")


def _items(category: str) -> Iterable[dict[str, Any]]:
    for number, (name, description, _) in enumerate(_OFFER[category][1], start=1):
        item: dict[str, Any] = {
            "id": f"{category}_{number}",
            "name": name,
            "description": description,
            "enabled": name != "Rice",
            "category": category,
        }
        if name in _CUPS and category == "cups":
            item["volume"], item["shots"] = _CUPS[name]
        yield item


def _stock(category: str) -> dict[str, Any]:
    unit, items = _OFFER[category]
    levels = {}
    for number, (name, _, bought) in enumerate(items, start=1):
        allocated = round(
            sum(_share(s[0], name) for s in _STATIONS if (s[0], name) not in _NOT_AT), 3
        )
        levels[f"{category}_{number}"] = {
            "quantity": bought,
            "unit": unit,
            "allocated": allocated,
            "available": round(bought - allocated, 3),
        }
    return levels


def _share(station: str, item: str) -> float:
    unit, bought = next(
        (unit, bought)
        for unit, items in _OFFER.values()
        for name, _, bought in items
        if name == item
    )
    share = next(row[4] for row in _STATIONS if row[0] == station)
    return _measured(bought * share, unit)


def _per_station(value: Any) -> dict[str, Any]:
    return {
        station[0]: {
            category: {
                f"{category}_{number}": value(station[0], name)
                for number, (name, _, _) in enumerate(items, start=1)
                if (station[0], name) not in _NOT_AT
            }
            for category, (_, items) in _OFFER.items()
        }
        for station in _STATIONS
    }


def _live_stock(station: str) -> dict[str, Any]:
    left = next(row[5] for row in _STATIONS if row[0] == station)
    stock: dict[str, Any] = {}
    for category, (unit, items) in _OFFER.items():
        # The front end files an event's extras under "other" in a station's stock.
        rows = stock.setdefault("other" if category == "extras" else category, [])
        for number, (name, description, _) in enumerate(items, start=1):
            if (station, name) in _NOT_AT:
                continue
            capacity = _share(station, name)
            amount = _measured(capacity * left, unit)
            low, critical = _tidy(capacity / 4), _tidy(capacity / 10)
            rows.append(
                {
                    "id": f"{category}_{number}",
                    "name": name,
                    "amount": amount,
                    "capacity": capacity,
                    "unit": unit,
                    "status": "critical"
                    if amount <= critical
                    else "low"
                    if amount <= low
                    else "good",
                    "lowThreshold": low,
                    "criticalThreshold": critical,
                    "description": description,
                    "category": category,
                    "enabled": True,
                }
            )
    return stock


def _measured(amount: float, unit: str) -> float:
    """What people would write down: whole cups and bottles, eighths of a kilo or litre."""
    steps = 8 if unit in ("L", "kg") else 1
    return _tidy(round(amount * steps) / steps)


def _tidy(number: float) -> float:
    """Whole numbers as JavaScript writes them: 5, not 5.0."""
    number = round(number, 3)
    return int(number) if number == int(number) else number
