"""Writes that are offered again after the database lost them: applied once, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.commits.decision import Decision
from expresso_persist.commits.offers import Position, Standing
from expresso_persist.errors import (
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    OfferConflict,
    TimelineLost,
)
from expresso_persist.model.records import (
    Commit,
    Delete,
    Patch,
    Put,
    RecordKey,
    Setting,
    StockLevel,
)
from expresso_persist.stock.requests import read_movement

OAT = RecordKey("event_stock", ("milk", "oat"))
SET = ("count", {"quantity": 50})
TAKE = ("adjust", {"delta": -1})


@attrs.define
class Station:
    """A client as the server sees it: it knows where the two timelines part."""

    store: Store
    base: Position
    lost: int = 10

    def offered(self, place: int, *, adds: bool = False) -> Standing:
        """What it says of a write that was acknowledged so many commits after the base."""
        position = Position(self.base.epoch, self.base.revision + place, "abcdef")
        return Standing(self.base, position, adds)

    def move(
        self, kind: str, asked: dict[str, Any], place: int | None = None, key: str | None = None
    ) -> Commit:
        """A movement of the oat milk: offered again, or made now by another client."""
        movement = read_movement(kind, {"category": "milk", "item": "oat", **asked})
        standing = None if place is None else self.offered(place, adds=kind != "count")
        key = key or f"{kind} {place}"
        moved = self.store.inventory.move(
            movement, actor="a", idempotency_key=key if place else None, standing=standing
        )
        return moved.commit

    def put(self, name: str, value: object, place: int | None = None) -> Commit:
        """A setting, whole."""
        standing = None if place is None else self.offered(place)
        return self.store.inventory.commit(
            [Put(Setting.of(name, data=value))],
            actor="a",
            idempotency_key=f"{name} {value} {place}",
            standing=standing,
        )

    def patch(self, members: dict[str, Any], place: int | None = None) -> Commit:
        """Some members of the oat milk's stock."""
        return self.store.inventory.commit(
            [Patch(OAT, members)],
            actor="a",
            idempotency_key=f"{members} {place}",
            standing=None if place is None else self.offered(place),
        )

    @property
    def stock(self) -> Any:
        record = self.store.inventory.get(*OAT.parts[:0], OAT.kind, *OAT.parts)
        return None if record is None else record.data


@pytest.fixture
def station(store: Store) -> Station:
    """A store with some oat milk, at the position that all clients have seen."""
    record = StockLevel.of("milk", "oat", data={"quantity": 10, "unit": "l"})
    commit = store.inventory.commit([Put(record)], actor="a")
    return Station(store, Position.read(commit.cursor, "cursor"))


def test_what_survived_is_answered_by_its_position(station: Station) -> None:
    """Also to another actor, and when its key cannot be found for that reason."""
    first = station.put("s", 1)
    again = station.store.inventory.commit(
        [Put(Setting.of("s", data=1))],
        actor="b",
        idempotency_key="s 1 None",
        standing=Standing(station.base, Position.read(first.cursor, "cursor")),
    )
    assert (again.revision, again.replayed, again.cursor) == (first.revision, True, first.cursor)
    with pytest.raises(IdempotencyMismatch):
        station.store.inventory.commit(
            [Put(Setting.of("s", data=1))],
            actor="b",
            idempotency_key="of another write",
            standing=Standing(station.base, Position.read(first.cursor, "cursor")),
        )


def test_a_lost_write_is_applied_once(station: Station) -> None:
    for _ in range(3):
        commit = station.move(*TAKE, 1, "k")
    assert station.stock["quantity"] == 9
    assert station.store.inventory.head().revision == commit.revision == station.base.revision + 1
    assert station.store.inventory.verify().ok


def test_what_was_forgotten_is_still_known(station: Station) -> None:
    """Forgetting drops changes; commits, their keys and their hashes stay."""
    first = station.put("s", 1)
    station.put("s", 2)
    station.store.inventory.forget_history(station.store.inventory.head().revision, actor="a")
    standing = Standing(station.base, Position.read(first.cursor, "cursor"))
    for actor in "ab":
        again = station.store.inventory.commit(
            [Put(Setting.of("s", data=1))],
            actor=actor,
            idempotency_key="s 1 None",
            standing=standing,
        )
        assert again.replayed
    assert station.store.inventory.settings()["s"] == 2


@pytest.mark.parametrize(
    "since",
    [
        lambda base: attrs.evolve(base, epoch="other"),
        lambda base: attrs.evolve(base, revision=base.revision + 1),
        lambda base: attrs.evolve(base, prefix="0123456789ab"),
    ],
    ids=["another store", "the future", "another timeline"],
)
def test_a_write_on_a_lost_timeline_is_refused(
    station: Station, since: Callable[[Position], Position]
) -> None:
    """So that clients offer first what was lost, and their order is kept."""
    for earlier in (False, True):
        if earlier:  # the position is not the head's any more
            station.put("later", 1)
        with pytest.raises(TimelineLost) as caught:
            station.store.inventory.commit(
                [Put(Setting.of("s", data=1))],
                actor="a",
                idempotency_key="k",
                standing=Standing(since(station.base)),
            )
        assert caught.value.context["cursor"] == station.store.inventory.head().cursor
    for good in (station.base, Position(station.base.epoch, 0, "0")):
        assert station.store.inventory.commit([], actor="a", standing=Standing(good))


def test_an_offer_to_another_store_is_refused(station: Station) -> None:
    """What is in it nobody can tell: it may have been filled from a backup."""
    standing = Standing(None, attrs.evolve(station.base, epoch="other"))
    with pytest.raises(TimelineLost):
        station.store.inventory.commit([], actor="a", idempotency_key="k", standing=standing)


def test_an_offer_without_a_key_is_refused(station: Station) -> None:
    with pytest.raises(InvalidInput):
        station.store.inventory.commit([], actor="a", standing=station.offered(1))


def test_an_older_value_never_overwrites_one_set_after_the_loss(station: Station) -> None:
    station.put("s", "of others")
    with pytest.raises(OfferConflict) as caught:
        station.put("s", "acknowledged", place=1)
    assert caught.value.context["value"] == "of others"
    assert caught.value.context["key"] == ["s"]
    assert station.store.inventory.settings()["s"] == "of others"
    station.move("count", {"quantity": 20})
    with pytest.raises(OfferConflict):
        station.move(*SET, 2)
    assert station.stock["quantity"] == 20
    station.put("s", "of others", place=3)  # the same value is no conflict


def test_members_that_nobody_else_set_are_no_conflict(station: Station) -> None:
    station.patch({"unit": "kg"})
    station.patch({"quantity": 7}, place=1)
    assert station.stock == {"quantity": 7, "unit": "kg"}
    with pytest.raises(OfferConflict):
        station.patch({"unit": "ml"}, place=2)


def test_what_adds_comes_before_a_count_that_was_made_after_the_loss(station: Station) -> None:
    """What somebody counted is what was there, lost sales taken off; sums have no order."""
    station.move(*TAKE)
    station.move(*TAKE, 1)
    assert station.stock["quantity"] == 8
    station.move("count", {"quantity": 20})
    station.move(*TAKE)
    station.move(*TAKE, 2)
    assert station.stock["quantity"] == 19


def test_sales_after_the_loss_come_off_an_older_count(station: Station) -> None:
    station.move(*TAKE)
    station.move(*TAKE)
    station.move(*SET, 1)
    assert station.stock["quantity"] == 48


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize(
    ("writes", "result"),
    [
        ((SET, TAKE, TAKE), 48),
        ((TAKE, SET, TAKE), 49),
        ((TAKE, TAKE, SET), 50),
        ((SET, TAKE, ("count", {"quantity": 7})), 7),
        ((("count", {"quantity": 9}), TAKE, ("waste", {"quantity": 2, "reason": "x"})), 6),
    ],
)
def test_several_clients_offer_in_any_order(
    station: Station, writes: Any, result: float, order: tuple[int, ...]
) -> None:
    """The result is that of the timeline that was lost."""
    for place in order:
        station.move(*writes[place], place + 1)
    assert station.stock["quantity"] == result
    assert len(station.store.inventory.commits(station.base.revision)) == 3, "none is missing"
    assert station.store.inventory.verify().ok


def test_what_was_overwritten_stays_overwritten(station: Station) -> None:
    station.put("s", "last", place=3)
    assert station.put("s", "first", place=1).revision == station.base.revision + 2
    assert station.store.inventory.settings()["s"] == "last"
    station.store.inventory.commit(
        [Delete(RecordKey("setting", ("s",)))],
        actor="a",
        idempotency_key="gone",
        standing=station.offered(2),
    )
    assert station.store.inventory.settings()["s"] == "last"


def test_the_expected_revision_of_the_lost_timeline_means_that_nobody_came_between(
    station: Station,
) -> None:
    def offer(members: dict[str, Any], place: int) -> Commit:
        return station.store.inventory.commit(
            [Patch(OAT, members, expected_revision=place + 40)],
            actor="a",
            idempotency_key=f"{place}",
            standing=station.offered(place),
        )

    offer({"quantity": 8}, 1)
    offer({"quantity": 7}, 2)
    assert station.stock["quantity"] == 7
    station.patch({"unit": "kg"})
    with pytest.raises(OfferConflict):
        offer({"quantity": 6}, 3)


def test_what_does_not_fit_is_refused_as_ever(station: Station) -> None:
    station.store.inventory.commit([Delete(OAT)], actor="a")
    with pytest.raises(NotFound):
        station.move(*TAKE, 1)


def test_changes_that_were_forgotten_count_as_set_by_others(station: Station) -> None:
    """Nobody can tell any more what they were."""
    station.patch({"unit": "kg"})
    station.store.inventory.forget_history(station.store.inventory.head().revision + 1, actor="a")
    with pytest.raises(OfferConflict):
        station.patch({"quantity": 7}, place=1)


def test_sales_that_were_forgotten_are_not_guessed(station: Station) -> None:
    """What is left of them is the last value, not what they took."""
    for _ in range(3):
        station.move(*TAKE)
    station.store.inventory.forget_history(station.store.inventory.head().revision, actor="a")
    with pytest.raises(OfferConflict):
        station.move(*SET, 1)
    assert station.stock["quantity"] == 7


@pytest.mark.parametrize("text", ["", "7", "e.7", "e.7.", "e.x.ab", "e.7.xyz", "e.7.ab " + "a"])
def test_positions_are_cursors(text: str) -> None:
    with pytest.raises(InvalidInput):
        Position.read(text, "Expresso-Since")


def test_transfers_of_several_clients_make_what_was_lost(station: Station) -> None:
    """Also where the first of them made the record at the station."""
    move = ("transfer", {"quantity": 1, "to_station": "7"})
    for place in (2, 1, 3):
        station.move(*move, place)
    held = station.store.inventory.records("station_quantity")
    assert [record.data for record in held] == [{"quantity": 3}]
    assert station.stock["allocated"] == 3
    assert station.stock["available"] == station.stock["quantity"] - 3


def test_a_count_of_what_is_stored_counts(station: Station) -> None:
    """It changes nothing, and is still what somebody found."""
    stored = station.stock["quantity"]
    station.move("count", {"quantity": stored})
    with pytest.raises(OfferConflict):
        station.move("count", {"quantity": stored - 6}, 1)
    assert station.stock["quantity"] == stored


def test_a_lost_count_of_what_is_stored_holds_back_earlier_sales(station: Station) -> None:
    stored = station.stock["quantity"]
    station.move("count", {"quantity": stored}, 2)
    station.move(*TAKE, 1)
    assert station.stock["quantity"] == stored
    station.move(*TAKE, 3)
    assert station.stock["quantity"] == stored - 1


@pytest.mark.parametrize("receipt", ["[1]", '{"movement": null}', '{"acknowledged": 5}', "3"])
def test_a_receipt_of_the_host_may_be_any_json(station: Station, receipt: str) -> None:
    setting = Setting.of("theme", data="dark")
    station.store.inventory.commit(Decision([Put(setting)], receipt), actor="host")
    with pytest.raises(OfferConflict):
        station.put("theme", "light", place=1)
