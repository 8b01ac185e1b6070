"""What an offered write does below what came after it, rule by rule."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.commits import offer_rules, offers
from expresso_persist.commits.offer_rules import Offer, Other, Position, Standing
from expresso_persist.errors import InvalidInput, OfferConflict, TimelineLost
from expresso_persist.model import json_text
from expresso_persist.model.records import (
    Adjust,
    Change,
    Patch,
    Put,
    RecordKey,
    Setting,
    StockLevel,
)
from expresso_persist.stock.requests import read_movement

OAT = RecordKey("event_stock", ("milk", "oat"))
AT = Position("e" * 16, 5, "abcdef")


def level(value: Any) -> StockLevel | None:
    return None if value is None else StockLevel.of("milk", "oat", data=value)


def change(before: Any, after: Any) -> Change:
    return Change(OAT, level(before), level(after))


def other(before: Any, after: Any, *, adds: bool = False, **more: Any) -> Other:
    return Other(7, "bert", adds, change(before, after), **more)


def position(revision: int, prefix: str = "abcdef") -> Position:
    return Position(AT.epoch, revision, prefix)


def offer(before: Any, after: Any, *, adds: bool = False, **more: Any) -> Offer:
    mine = change(before, after)
    names = offer_rules.meant([], mine, movement=False, adds=adds)
    return Offer(mine, more.pop("names", names), None if adds else frozenset(), **more)


def test_a_commit_that_was_first_made_here_is_fresh() -> None:
    assert other(1, 2).fresh
    assert not other(1, 2, place=position(6)).fresh


def test_what_a_commit_touched() -> None:
    both = other({"a": 1, "b": 2, "gone": None}, {"a": 1, "b": 3, "c": None})
    assert [name for name in ("a", "b", "c", "gone", "x") if both.touches(name)] == [
        "b",
        "c",
        "gone",
    ]
    assert other(None, {"a": 1}).touches("x"), "a record that was made is touched whole"
    assert other({"a": 1}, None).touches("x")
    assert other(1, 2).touches("")
    assert not other(1, 1).touches("")


def test_members_that_differ_are_named_once_and_in_order() -> None:
    assert offer_rules._differing({"a": 1, "b": 2}, {"b": 3, "a": 1, "c": 4}) == ["b", "c"]
    assert offer_rules._differing({"a": None}, {}) == ["a"]
    assert offer_rules._differing({}, {"a": None}) == ["a"]
    assert offer_rules._differing({"a": None}, {"a": None}) == []


def test_what_a_commit_added() -> None:
    assert other({"n": 1}, {"n": 3.5}, adds=True).added("n") == 2.5
    assert other({"n": 0.3}, {"n": 0.1}, adds=True).added("n") == -0.2
    assert other(4, 1, adds=True).added("") == -3
    assert other(None, {"n": 1}, adds=True).added("n") == 1, "what it made began with nothing"
    assert other({}, {"n": 1}, adds=True).added("n") == 1
    for before, after in (
        (None, {"n": "1"}),
        ({"n": 1}, None),
        ({"n": "1"}, {"n": 3}),
        ({"n": 1}, {"n": None}),
        ({"n": True}, {"n": 3}),
        ({"n": 1}, {}),
    ):
        assert other(before, after, adds=True).added("n") is None
    assert other({"n": 1}, {"n": 3}).added("n") is None, "it set it"


SET = {"since": position(3), "lost": position(4)}


def after(mine: Offer, *others: Other, high: int = 4) -> list[Other]:
    """What came after it, of a client that knows where the timelines part."""
    standing = Standing(position(3), position(5), lost=position(4))
    return mine.after(others, standing, high)


def test_what_would_overwrite_a_later_value() -> None:
    mine = offer({"n": 1, "m": 1}, {"n": 2, "m": 1})
    for fine in (other({"n": 0}, {"n": 1}, adds=True), other({"m": 0}, {"m": 1})):
        assert after(mine, fine) == [fine]
    for value in (other({"n": 0, "m": 1}, {"n": 1, "m": 1}), other({"n": 0}, {"m": 1})):
        with pytest.raises(OfferConflict):
            after(mine, value)
        assert after(offer({"n": 1}, {"n": 2}, adds=True), value) == [value]
        lost = attrs.evolve(value, place=position(6), **SET)
        assert after(mine, lost) == [lost], "it was lost as well: the order is known"
        assert after(mine, attrs.evolve(lost, place=position(4))) == []
    same = offer({"n": 1}, {"n": 1}, names=["n"])
    assert after(same, other({"n": 0}, {"n": 1})), "the same value"
    assert after(offer({"m": 1}, {"m": 2}), other({"n": 0}, {"n": 1}))


def test_what_may_have_survived_is_a_conflict_where_it_matters() -> None:
    """Between the newest position that is shared and the oldest that is lost."""
    sale, count = other({"n": 3}, {"n": 1}, adds=True), other({"n": 0}, {"n": 1})
    mine, same = offer({"n": 1}, {"n": 9}), offer({"n": 1}, {"n": 1}, names=["n"])
    adds = offer({"n": 1}, {"n": 0}, adds=True)
    for one, two in ((mine, sale), (mine, count), (same, sale), (adds, count)):
        with pytest.raises(OfferConflict):
            after(one, two, high=8)
        with pytest.raises(OfferConflict):
            after(one, attrs.evolve(two, place=position(6), **SET), high=8)
        assert after(offer({"m": 1}, {"m": 2}), two, high=8) == []
    assert after(adds, sale, high=8) == [], "sums have no order"
    assert after(same, count, high=8) == [], "it is the same value, whichever was first"
    with pytest.raises(OfferConflict):
        after(same, count, attrs.evolve(sale, revision=9), high=8)
    for one in (mine, same, adds):
        assert after(one, attrs.evolve(count, place=position(4)), high=8) == []
    old = Standing(position(3), position(9))
    lost = attrs.evolve(sale, place=position(10))
    assert mine.after([lost], old, high=9) == [lost], "of clients that do not say what is lost"


def test_what_was_lost_in_another_loss_has_no_order() -> None:
    mine, adds = offer({"n": 1}, {"n": 9}), offer({"n": 1}, {"n": 2}, adds=True)
    value = other({"n": 0}, {"n": 1})
    for place, lost, since in (
        (position(5, "0123"), position(4), position(3)),
        (position(6), position(4, "0123"), position(3)),
        (position(9), position(8), position(4)),
        (position(2), None, position(1)),
    ):
        theirs = attrs.evolve(value, place=place, lost=lost, since=since)
        with pytest.raises(OfferConflict):
            after(mine, theirs)
        with pytest.raises(OfferConflict):
            after(adds, theirs)
        after(adds, attrs.evolve(theirs, adds=True))
        after(offer({"m": 1}, {"m": 2}), theirs)
    assert after(mine, attrs.evolve(value, place=position(9), lost=position(6), since=position(1)))


def test_what_is_not_known_any_more_is_a_conflict() -> None:
    for mine in (offer({"n": 1}, {"n": 2}), offer({"n": 1}, {"n": 2}, adds=True)):
        with pytest.raises(OfferConflict):
            after(mine, other(None, None))
        said = other(None, None, confirms=frozenset({"m"}))
        assert after(mine, said) == [said]
    with pytest.raises(OfferConflict):
        after(offer({"n": 1}, {"n": 2}), other(None, None, confirms=frozenset({"n"})))


def test_an_addition_beside_an_undo_or_an_import_is_a_conflict() -> None:
    """What they mean for a number is unknown: they may take back a sale, or set a value."""
    mine = offer({"n": 1}, {"n": 2}, adds=True)
    for source in ("undo", "import", "restore"):
        with pytest.raises(OfferConflict):
            after(mine, other({"n": 0}, {"n": 1}, source=source))
        assert after(mine, other({"m": 0}, {"m": 1}, source=source))


def test_a_record_that_another_one_made_has_members_that_nobody_named() -> None:
    made = other(None, {"quantity": 5, "available": 5}, place=position(6), **SET)
    for adds in (False, True):
        with pytest.raises(OfferConflict):
            after(offer({"quantity": 5}, {"quantity": 7}, adds=adds), made)
    by_transfer = attrs.evolve(made, adds=True)
    assert after(offer({"quantity": 5}, {"quantity": 7}), by_transfer)


def below(mine: Offer, *others: Other) -> Any:
    found = mine.below(others)
    assert (found.key, found.before) == (OAT, mine.change.before)
    return None if found.after is None else found.after.data


def test_a_change_stands_below_what_came_later() -> None:
    mine = offer({"n": 1, "m": 1}, {"n": 10, "m": 2})
    assert mine.below([]) is mine.change
    added = other({"n": 1}, {"n": 3}, adds=True)
    assert below(mine, added, added) == {"n": 14, "m": 2}
    assert below(mine, other({"n": 0}, {"n": 1})) == {"n": 1, "m": 2}, "set later: that stands"
    assert below(mine, other({"n": 0}, {"n": 1}), added) == {"n": 1, "m": 2}
    assert below(mine, other({"x": 0}, {"x": 1})) == {"n": 10, "m": 2}
    gone = offer({"n": 1, "m": 1}, {"m": 1})
    assert below(gone, other({"n": 0}, {"n": 1})) == {"m": 1, "n": 1}
    new = offer({"m": 1}, {"m": 1, "n": 5})
    assert below(new, other({}, {"n": 4})) == {"m": 1}
    assert below(offer({"n": 1}, {"n": "ten"}), added) == {"n": "ten"}
    # A write that adds itself keeps its sum, and comes before what is set later.
    assert below(offer({"n": 3}, {"n": 4}, adds=True), added) == {"n": 4}
    assert below(offer({"n": 3}, {"n": 4}, adds=True), other({"n": 0}, {"n": 3})) == {"n": 3}
    assert below(offer(2, 9), other(1, 3, adds=True)) == 11, "a bare number"
    assert below(offer(2, {"n": 9}), other({"n": 1}, 2)) == 2, "another shape"


def test_a_record_that_was_made_or_removed_is_left_as_it_is_now() -> None:
    for mine in (offer(None, {"n": 1}), offer({"n": 1}, None)):
        found = mine.below([other({"n": 0}, {"n": 1})])
        assert found == Change(OAT, mine.change.before, mine.change.before)


def test_a_value_that_is_there_already_is_moved_by_what_was_added() -> None:
    now = offer({"n": 5, "m": 1}, {"n": 5, "m": 1}, names=["n"])
    assert below(now, other({"n": 3, "m": 0}, {"n": 5, "m": 1}, adds=True)) == {"n": 7, "m": 1}
    same = now.below([other({"n": 3}, {"n": 5})])
    assert same.after is same.before, "nothing is changed, so it is the same record"
    raw = attrs.evolve(StockLevel.of("milk", "oat", data={"n": 5}), raw='{"n": 5.0}')
    counted = Offer(Change(OAT, raw, raw), ["n"], frozenset())
    found = counted.below([other({"n": 3}, {"n": 5}, adds=True)])
    assert found.after is not None
    assert (found.after.raw, found.after.data) == (None, {"n": 7})


def test_what_is_available_is_computed_by_the_last_movement() -> None:
    before, now = {"quantity": 9, "allocated": 2, "available": 7}, {"quantity": 50}
    mine = offer(before, {**before, **now})
    sale = other({**before, "quantity": 10, "available": 8}, before, adds=True, moves=True)
    assert below(mine, sale) == {"quantity": 49, "allocated": 2, "available": 47}
    said = other({**before, "available": 1}, before)
    assert below(mine, said, sale) == {"quantity": 49, "allocated": 2, "available": 47}
    assert below(mine, sale, said)["available"] == 7, "set later: that stands"
    with pytest.raises(OfferConflict):
        below(mine, sale, other({**before, "quantity": 1}, before))


def test_numbers_are_numbers() -> None:
    members = {"a": 1, "b": 2.5, "c": True, "d": "1", "e": None}
    found = [offer_rules._number(members, name) for name in "abcdex"]
    assert found == [1, 2.5, None, None, None, None]


@pytest.mark.parametrize(
    ("receipt", "standing", "kept"),
    [
        (None, None, None),
        ('{"a":1}', None, '{"a":1}'),
        (None, Standing(since=AT), None),
        ('{"a":1}', Standing(since=AT), '{"a":1}'),
        (None, Standing(acknowledged=AT), {"acknowledged": str(AT)}),
        (None, Standing(acknowledged=AT, adds=True), {"acknowledged": str(AT), "adds": True}),
        ('{"a":1}', Standing(acknowledged=AT), {"a": 1, "acknowledged": str(AT)}),
        (
            '{"a":1}',
            Standing(acknowledged=AT, adds=True),
            {"a": 1, "acknowledged": str(AT), "adds": True},
        ),
        (None, Standing(adds=True), {"adds": True}),
        (
            None,
            Standing(AT, AT, lost=AT),
            {"acknowledged": str(AT), "since": str(AT), "lost": str(AT)},
        ),
        ('{"a":1}', Standing(adds=True), '{"a":1}'),
    ],
)
def test_a_receipt_says_what_later_offers_have_to_know(
    receipt: str | None, standing: Standing | None, kept: Any
) -> None:
    new = [Put(Setting.of("s", data=1))]
    found = offers.with_standing(receipt, standing, new, [], {})
    assert (json_text.loads(found) if isinstance(kept, dict) and found else found) == kept


@pytest.fixture
def oat(store: Store) -> Position:
    """Some oat milk, at the position that all clients have seen."""
    record = StockLevel.of("milk", "oat", data={"quantity": 10})
    return Position.read(store.inventory.commit([Put(record)], actor="a").cursor, "cursor")


def test_numbers_that_a_plain_commit_added_are_added_to_an_offered_one(
    store: Store, oat: Position
) -> None:
    added = [Adjust(OAT, "quantity", 5)]
    store.inventory.commit(added, actor="b", standing=Standing(adds=True))
    lost = Standing(oat, Position(oat.epoch, 2, "abcdef"))
    store.inventory.commit(
        [Patch(OAT, {"quantity": 50})], actor="a", idempotency_key="k", standing=lost
    )
    stored = store.inventory.get("event_stock", "milk", "oat")
    assert stored is not None
    assert stored.data == {"quantity": 55}


def test_a_conflict_names_the_commit_that_stands(store: Store, oat: Position) -> None:
    store.inventory.commit([Patch(OAT, {"quantity": 7})], actor="bert")
    lost = Standing(oat, Position(oat.epoch, 2, "abcdef"))
    with pytest.raises(OfferConflict, match=r"by revision 2 \(bert\)") as caught:
        store.inventory.commit(
            [Patch(OAT, {"quantity": 50})], actor="a", idempotency_key="k", standing=lost
        )
    assert caught.value.context == {
        "kind": "event_stock",
        "key": ["milk", "oat"],
        "revision": 2,
        "value": {"quantity": 7},
    }


def test_without_a_common_position_everything_came_later(store: Store, oat: Position) -> None:
    lost = Standing(None, Position(oat.epoch, 1, "abcdef"))
    with pytest.raises(OfferConflict):
        store.inventory.commit(
            [Patch(OAT, {"quantity": 50})], actor="a", idempotency_key="k", standing=lost
        )


def move(store: Store, kind: str, standing: Standing | None = None, **asked: Any) -> None:
    movement = read_movement(kind, {"category": "milk", "item": "oat", **asked})
    key = None if standing is None else f"{kind} {asked}"
    store.inventory.move(movement, actor="a", idempotency_key=key, standing=standing)


def quantity(store: Store) -> Any:
    record = store.inventory.get("event_stock", "milk", "oat")
    return None if record is None else record.data["quantity"]  # type: ignore[index, call-overload]


def test_an_offered_count_that_says_what_is_there_now_is_moved_as_well(
    store: Store, oat: Position
) -> None:
    """Counted before the others took and brought: 9 then is 8 now."""
    for delta in (-3, 1, 1):
        move(store, "adjust", delta=delta)
    assert quantity(store) == 9
    move(store, "count", Standing(oat, Position(oat.epoch, 2, "abcdef")), quantity=9)
    assert quantity(store) == 8


def test_commits_of_other_tenants_are_none_of_this_ones(store: Store, oat: Position) -> None:
    """Of the same record, at the same revisions."""
    for name in ("a", "z"):
        other = store.for_tenant(name).inventory
        for number in range(3):
            record = StockLevel.of("milk", "oat", data={"quantity": number})
            other.commit([Put(record)], actor="bert")
    added = [Adjust(OAT, "quantity", 5)]
    store.inventory.commit(added, actor="b", standing=Standing(adds=True))
    lost = Standing(oat, Position(oat.epoch, 2, "abcdef"))
    store.inventory.commit(
        [Patch(OAT, {"quantity": 50})], actor="a", idempotency_key="k", standing=lost
    )
    assert quantity(store) == 55


def test_a_record_that_is_as_offered_does_not_end_the_others(store: Store, oat: Position) -> None:
    store.inventory.commit([Put(Setting.of("a", data=1))], actor="b")
    lost = Standing(oat, Position(oat.epoch, 3, "abcdef"))
    offered = [Put(Setting.of("a", data=1)), Put(Setting.of("b", data=2))]
    store.inventory.commit(offered, actor="a", idempotency_key="k", standing=lost)
    assert store.inventory.settings() == {"a": 1, "b": 2}


def test_another_timeline_is_refused_with_the_place_where_this_one_stands(
    store: Store, oat: Position
) -> None:
    head = store.inventory.head()
    for standing in (
        Standing(oat, attrs.evolve(oat, epoch="other")),
        Standing(attrs.evolve(oat, epoch="other")),
        Standing(attrs.evolve(oat, revision=9)),
    ):
        with pytest.raises(TimelineLost) as caught:
            store.inventory.commit([], actor="a", idempotency_key="k", standing=standing)
        assert caught.value.context == {"cursor": head.cursor}


def test_a_position_is_read_from_a_cursor() -> None:
    assert Position.read(str(AT), "since") == AT
    for text in ("", "e.5", "e.5.xyz", f"{AT} ", "e.x.abc"):
        with pytest.raises(InvalidInput, match=r"^since is the cursor") as caught:
            Position.read(text, "since")
        assert [(p.path, p.message) for p in caught.value.problems] == [
            ("since", "<epoch>.<revision>.<hash>")
        ]
