"""Stock moves between the event and its stations, and nothing gets lost on the way."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from expresso_persist import Store
from expresso_persist.errors import (
    ConflictRefused,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
OAT = {
    "event_inventory": '{"milk":[{"id":"oat","name":"Oat","enabled":true}]}',
    "event_stock_levels": (
        '{"milk":{"oat":{"quantity":20,"unit":"L","allocated":5,"available":15}}}'
    ),
    "station_inventory_quantities": '{"1":{"milk":{"oat":{"quantity":5}}},"2":{}}',
    "coffee_stock_station_1": '{"milk":[{"id":"oat","name":"Oat","amount":4.5,"capacity":9}]}',
}


@pytest.fixture
def stocked(store: Store) -> Store:
    """An event with oat milk, 5 litres of it allotted to station 1, half a litre sold."""
    store.importer.import_({"localStorage": OAT}, actor="test")
    return store


def data(store: Store, kind: str, *parts: str) -> Any:
    record = store.inventory.get(kind, *parts)
    return None if record is None else record.data


def test_a_transfer_moves_live_stock_allotment_and_allocation(stocked: Store) -> None:
    before = stocked.inventory.head().revision
    moved = stocked.inventory.transfer("milk", "Oat", 0.3, to_station="1", actor="anna")
    assert moved.commit.revision == before + 1
    assert data(stocked, "event_stock", "milk", "oat") == {
        "quantity": 20, "unit": "L", "allocated": 5.3, "available": 14.7,
    }  # fmt: skip
    assert data(stocked, "station_quantity", "1", "milk", "oat") == {"quantity": 5.3}
    assert data(stocked, "station_stock", "1", "milk", "oat")["amount"] == 4.8
    assert [stock["quantity"] for stock in moved.stock] == [20, 4.8]
    stocked.inventory.transfer("milk", "oat", 0.3, from_station="1", actor="anna")
    assert data(stocked, "event_stock", "milk", "oat") == {
        "quantity": 20, "unit": "L", "allocated": 5, "available": 15,
    }  # fmt: skip
    stocked.inventory.transfer("milk", "oat", 1, from_station="1", to_station="2", actor="anna")
    assert data(stocked, "station_stock", "1", "milk", "oat")["amount"] == 3.5
    assert data(stocked, "station_quantity", "1", "milk", "oat") == {"quantity": 4}
    assert data(stocked, "station_quantity", "2", "milk", "oat") == {"quantity": 1}
    assert data(stocked, "event_stock", "milk", "oat")["allocated"] == 5


def test_below_zero_is_stored_and_flagged(stocked: Store) -> None:
    moved = stocked.inventory.waste(
        "milk", "oat", 5, station_id="1", reason="sour", actor="anna", note="in the sun"
    )
    assert data(stocked, "station_stock", "1", "milk", "oat")["amount"] == -0.5
    assert moved.stock[0]["negative"] is True
    assert moved.commit.note == "in the sun"
    assert moved.movement["reason"] == "sour"
    handed = stocked.inventory.transfer("milk", "oat", 16, to_station="1", actor="anna")
    assert handed.stock[0] == {
        "station_id": None, "category": "milk", "item": "oat",
        "quantity": 20, "available": -1, "negative": True,
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="below 0"):
        stocked.inventory.adjust("milk", "oat", -21, floor=0, actor="anna")


def test_a_count_sets_and_tells_what_was_missing(stocked: Store) -> None:
    counted = stocked.inventory.count("milk", "oat", 4.2, station_id="1", actor="anna")
    assert counted.movement["difference"] == -0.3
    # What is found to be right is news too; the text stays as it is, to the letter.
    again = stocked.inventory.count("milk", "oat", 4.2, station_id="1", actor="anna")
    assert again.movement["difference"] == 0
    assert again.commit.revision == counted.commit.revision + 1
    assert again.commit.changes == ()
    new = stocked.inventory.count("milk", "Soy", 3, actor="anna")
    assert new.movement["difference"] == 3
    assert data(stocked, "event_stock", "milk", "Soy")["available"] == 3
    stocked.inventory.count("milk", "Oat", 3, station_id="2", actor="anna")
    assert data(stocked, "station_quantity", "2", "milk", "oat") == {"quantity": 3}
    assert stocked.inventory.verify().ok


def test_the_same_key_is_one_movement(stocked: Store) -> None:
    def sell(**options: Any) -> Any:
        return stocked.inventory.adjust(
            "milk", "oat", options.pop("delta", -1), station_id="1", actor="anna",
            idempotency_key="tap", **options,
        )  # fmt: skip

    first = sell()
    stocked.inventory.adjust("milk", "oat", -1, station_id="1", actor="ben")
    again = sell()
    assert again.replayed
    assert not first.replayed
    assert {**again.to_json(), "replayed": False} == first.to_json()
    assert data(stocked, "station_stock", "1", "milk", "oat")["amount"] == 2.5
    with pytest.raises(IdempotencyMismatch):
        sell(delta=-2)


@pytest.mark.parametrize(
    ("kind", "asked", "error"),
    [
        ("transfer", {"quantity": 1}, InvalidInput),
        ("transfer", {"quantity": 1, "from_station": 1, "to_station": "1"}, InvalidInput),
        ("transfer", {"quantity": 0, "to_station": "1"}, InvalidInput),
        ("transfer", {"quantity": float("nan"), "to_station": "1"}, InvalidInput),
        ("transfer", {"quantity": 1, "from_station": "2", "to_station": "1"}, NotFound),
        ("waste", {"quantity": 1, "reason": " "}, InvalidInput),
        ("waste", {"quantity": 1, "reason": "\x1f\x85"}, InvalidInput),  # blank in Python
        ("waste", {"quantity": 1, "reason": "\ufeff"}, InvalidInput),  # blank in ECMA-262
        ("waste", {"quantity": -1, "reason": "spilt"}, InvalidInput),
        ("adjust", {"delta": True}, InvalidInput),
        ("adjust", {"delta": 1e15}, InvalidInput),
        ("adjust", {"delta": 1, "note": "x" * 2001}, InvalidInput),
        ("adjust", {"delta": 1, "note": "Bearer abcdefghijklmnop"}, InvalidInput),
        ("adjust", {"delta": 1, "station_id": "7"}, NotFound),
    ],
)
def test_what_makes_no_sense_is_refused(
    stocked: Store, kind: str, asked: dict[str, Any], error: type[Exception]
) -> None:
    head = stocked.inventory.head()
    with pytest.raises(error):
        getattr(stocked.inventory, kind)("milk", "oat", **asked, actor="anna")
    assert stocked.inventory.head() == head


def test_every_shape_of_stock_moves(store: Store) -> None:
    """The seed's flat shapes, bare numbers, and documents that nobody ever imported."""
    flat = {
        "event_stock_levels": {
            "Oat": {"category": "milk", "total": 9, "allocated": 2, "available": 7, "unit": "L"},
            "Cups": 50,
        },
        "station_inventory_quantities": {"1": {"Oat": 2}},
    }
    store.importer.import_(flat, actor="test")
    inventory = store.inventory
    inventory.transfer("milk", "Oat", 1, to_station="1", actor="anna")
    inventory.transfer("milk", "Oat", 1, to_station="2", actor="anna")
    inventory.transfer("cups", "Cups", 10, to_station="1", actor="anna")
    inventory.adjust("cups", "Cups", 5, actor="anna")
    shown = json.loads(inventory.inventory_json()[1])
    assert shown["event_stock_levels"]["Oat"] == {
        "category": "milk", "total": 9, "allocated": 4, "available": 5, "unit": "L",
    }  # fmt: skip
    cups = shown["event_stock_levels"]["Cups"]
    assert (cups["total"], cups["allocated"], cups["available"]) == (55, 10, 45)
    assert shown["station_inventory_quantities"] == {
        "1": {"Oat": 3, "Cups": 10}, "2": {"Oat": 1},
    }  # fmt: skip
    with pytest.raises(ConflictRefused, match="another category"):
        inventory.count("syrup", "Oat", 3, actor="anna")
    empty = store.for_tenant("empty").inventory
    empty.count("milk", "Oat", 3, actor="anna")
    empty.transfer("milk", "Oat", 1, to_station="1", actor="anna")
    assert [record.text for record in empty.records("station_quantity")] == ['{"quantity":1}']


def test_extras_of_the_inventory_are_others_at_a_station(store: Store) -> None:
    store.importer.import_(
        {
            "event_stock_levels": {"extras": {"lid": {"quantity": 9, "unit": "units"}}},
            "coffee_stock_station_1": {"other": [{"id": "lid", "name": "Lid", "amount": 1}]},
        },
        actor="test",
    )
    store.inventory.transfer("extras", "lid", 2, to_station="1", actor="anna")
    assert data(store, "station_stock", "1", "other", "lid")["amount"] == 3


cents = st.integers(1, 10_000).map(lambda n: n / 100)
places = st.sampled_from([None, "1", "2"])


class Movements(RuleBasedStateMachine):
    """Random movements of a real event's dump; decimals know what should be where."""

    url = "sqlite://"

    @initialize()
    def begin(self) -> None:
        self.store = Store(self.url, migrate=True)
        self.inventory = self.store.for_tenant(f"t{next(_numbers)}").inventory
        dump = (FIXTURES / "localstorage-configured-event.json").read_text(encoding="utf-8")
        self.store.for_tenant(self.inventory.tenant).importer.import_(dump, actor="test")
        self.owned = Decimal(24)
        self.handed = Decimal(12)
        self.live = {"1": Decimal(5), "2": Decimal(7)}

    @rule(place=places, delta=cents, sign=st.sampled_from([-1, 1]))
    def adjust(self, place: str | None, delta: float, sign: int) -> None:
        self.inventory.adjust("milk", "milk_1", sign * delta, station_id=place, actor="a")
        self._add(place, sign * Decimal(str(delta)))

    @rule(place=places, quantity=cents)
    def waste(self, place: str | None, quantity: float) -> None:
        self.inventory.waste(
            "milk", "Whole Milk", quantity, station_id=place, reason="x", actor="a"
        )
        self._add(place, -Decimal(str(quantity)))

    @rule(place=places, quantity=cents)
    def count(self, place: str | None, quantity: float) -> None:
        moved = self.inventory.count("milk", "milk_1", quantity, station_id=place, actor="a")
        stored = self.owned if place is None else self.live[place]
        difference = Decimal(str(quantity)) - stored
        assert Decimal(str(moved.movement["difference"])) == difference
        self._add(place, difference)

    @rule(source=places, goal=places, quantity=cents)
    def transfer(self, source: str | None, goal: str | None, quantity: float) -> None:
        hypothesis.assume(source != goal)
        before = self.inventory.head().revision
        moved = self.inventory.transfer(
            "milk", "milk_1", quantity, from_station=source, to_station=goal, actor="a"
        )
        assert moved.commit.revision == before + 1
        amount = Decimal(str(quantity))
        self.handed += amount * ((source is None) - (goal is None))
        for place, change in ((source, -amount), (goal, amount)):
            if place is not None:
                self.live[place] += change

    def _add(self, place: str | None, delta: Decimal) -> None:
        if place is None:
            self.owned += delta
        else:
            self.live[place] += delta

    @invariant()
    def agree(self) -> None:
        event: Any = self.inventory.get("event_stock", "milk", "milk_1").data  # type: ignore[union-attr]
        shown = [Decimal(str(event[name])) for name in ("quantity", "allocated", "available")]
        assert shown == [self.owned, self.handed, self.owned - self.handed]
        allotted = Decimal()
        for place, amount in self.live.items():
            live: Any = self.inventory.get("station_stock", place, "milk", "milk_1").data  # type: ignore[union-attr]
            assert Decimal(str(live["amount"])) == amount
            allotment: Any = self.inventory.get("station_quantity", place, "milk", "milk_1").data  # type: ignore[union-attr]
            allotted += Decimal(str(allotment["quantity"]))
        assert allotted == self.handed

    def teardown(self) -> None:
        assert self.inventory.verify().ok
        self.store.close()


_numbers = iter(range(10**9))


def test_random_movements_add_up(database_url: str) -> None:
    class Here(Movements):
        url = database_url

    hypothesis.stateful.run_state_machine_as_test(
        Here, settings=hypothesis.settings(max_examples=8, stateful_step_count=15, deadline=None)
    )
