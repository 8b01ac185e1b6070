"""What an offered write does below what came after it, rule by rule."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.commits import offers
from expresso_persist.commits.offers import Position, Standing
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
from expresso_persist.stock.movements import read_movement

OAT = RecordKey("event_stock", ("milk", "oat"))
FRESH = float("inf")
AT = Position("e" * 16, 5, "abcdef")


def level(value: Any) -> StockLevel | None:
    return None if value is None else StockLevel.of("milk", "oat", data=value)


def change(before: Any, after: Any) -> Change:
    return Change(OAT, level(before), level(after))


def other(before: Any, after: Any, *, adds: bool = False, place: float = FRESH) -> offers._Other:
    return offers._Other(7, "bert", place, adds, change(before, after))


def test_a_commit_that_was_first_made_here_is_fresh() -> None:
    assert other(1, 2).fresh
    assert not other(1, 2, place=6).fresh


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
    assert offers._differing({"a": 1, "b": 2}, {"b": 3, "a": 1, "c": 4}) == ["b", "c"]
    assert offers._differing({"a": None}, {}) == ["a"]
    assert offers._differing({}, {"a": None}) == ["a"]
    assert offers._differing({"a": None}, {"a": None}) == []


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


def test_what_would_overwrite_a_later_value() -> None:
    sets, adds = Standing(acknowledged=AT), Standing(acknowledged=AT, adds=True)
    mine = change({"n": 1, "m": 1}, {"n": 2, "m": 1})
    assert offers._overwrites(sets, mine, other({"n": 0, "m": 1}, {"n": 1, "m": 1}))
    assert not offers._overwrites(sets, mine, other({"n": 0}, {"n": 1}, adds=True))
    assert not offers._overwrites(sets, mine, other({"m": 0}, {"m": 1}))
    assert not offers._overwrites(adds, mine, other({"n": 0}, {"n": 1}))
    assert not offers._overwrites(sets, None, other({"n": 0}, {"n": 1}))
    for whole in (change(None, {"n": 1}), change({"n": 1}, None)):
        assert offers._overwrites(sets, whole, other({"m": 0}, {"m": 1}, adds=True))
        assert not offers._overwrites(adds, whole, other({"m": 0}, {"m": 1}))


def below(mine: Change, *others: offers._Other, adds: bool = False) -> Any:
    found = offers._below(mine, others, adds)
    assert (found.key, found.before) == (OAT, mine.before)
    return None if found.after is None else found.after.data


def test_a_change_stands_below_what_came_later() -> None:
    mine = change({"n": 1, "m": 1}, {"n": 10, "m": 2})
    assert offers._below(mine, [], adds=False) is mine
    added = other({"n": 1}, {"n": 3}, adds=True)
    assert below(mine, added, added) == {"n": 14, "m": 2}
    assert below(mine, other({"n": 0}, {"n": 1})) == {"n": 1, "m": 2}, "set later: that stands"
    assert below(mine, other({"n": 0}, {"n": 1}), added) == {"n": 1, "m": 2}
    assert below(mine, other({"x": 0}, {"x": 1})) == {"n": 10, "m": 2}
    gone = change({"n": 1, "m": 1}, {"m": 1})
    assert below(gone, other({"n": 0}, {"n": 1})) == {"m": 1, "n": 1}
    new = change({"m": 1}, {"m": 1, "n": 5})
    assert below(new, other({}, {"n": 4})) == {"m": 1}
    assert below(change({"n": 1}, {"n": "ten"}), added) == {"n": "ten"}
    # A write that adds itself keeps its sum.
    assert below(change({"n": 3}, {"n": 4}), added, adds=True) == {"n": 4}
    assert below(change(2, 9), other(1, 3, adds=True)) == 11, "a bare number"


def test_a_record_that_was_made_or_removed_is_left_as_it_is_now() -> None:
    for mine in (change(None, {"n": 1}), change({"n": 1}, None)):
        found = offers._below(mine, [other({"n": 0}, {"n": 1})], adds=False)
        assert found == Change(OAT, mine.before, mine.before)


def test_a_count_of_what_is_there_now_is_moved_by_what_was_added() -> None:
    now = change({"n": 5, "m": 1}, {"n": 5, "m": 1})
    assert below(now, other({"n": 3}, {"n": 5}, adds=True)) == {"n": 7, "m": 1}
    same = offers._below(now, [other({"n": 3}, {"n": 5})], adds=False)
    assert same.after is same.before, "nothing is changed, so it is the same record"
    raw = attrs.evolve(StockLevel.of("milk", "oat", data={"n": 5}), raw='{"n": 5.0}')
    counted = offers._below(Change(OAT, raw, raw), [other({"n": 3}, {"n": 5}, adds=True)], False)
    assert counted.after is not None
    assert (counted.after.raw, counted.after.data) == (None, {"n": 7})


def test_a_count_that_changes_nothing_is_a_change_to_the_same() -> None:
    record = level({"n": 1})
    assert offers._unchanged(OAT, record) == Change(OAT, record, record)
    assert offers._unchanged(OAT, None) is None


def test_numbers_are_numbers() -> None:
    members = {"a": 1, "b": 2.5, "c": True, "d": "1", "e": None}
    assert [offers._number(members, name) for name in "abcdex"] == [1, 2.5, None, None, None, None]


def test_a_conflict_says_what_stands() -> None:
    error = offers._conflict(OAT, other({"n": 0}, {"n": 1}))
    assert error.context == {
        "kind": "event_stock",
        "key": ["milk", "oat"],
        "revision": 7,
        "value": {"n": 1},
    }
    assert "by revision 7 (bert)" in error.message
    assert offers._conflict(OAT, other({"n": 0}, None)).context["value"] is None


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
        ('{"a":1}', Standing(adds=True), '{"a":1}'),
    ],
)
def test_a_receipt_says_what_later_offers_have_to_know(
    receipt: str | None, standing: Standing | None, kept: Any
) -> None:
    found = offers.with_standing(receipt, standing)
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
