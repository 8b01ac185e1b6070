"""The checker alone: each fault, put into a history that is in order."""

from __future__ import annotations

import attrs
import pytest
from stations.checker import check
from stations.history import History, Seen, Tap, Truth

QUANTITY = ("station_quantity", ("1", "milk", "oat"))
TAPS = [
    Tap("a", "anna", "adjust", "oat", -2, "acknowledged"),
    Tap("b", "bo", "adjust", "oat", 5, "acknowledged"),
    Tap("c", "bo", "put", "tap c", 7, "acknowledged"),
    Tap("d", "bo", "adjust", "oat", 1, "refused"),
    Tap("e", "bo", "adjust", "oat", 10, "unknown"),
    Tap("f", "bo", "adjust", "oat", 100, "unknown"),
]
RECORDS = {QUANTITY: {"quantity": 23}, ("setting", ("tap c",)): 7}
TRUTH = Truth({2: "a", 3: "e", 4: "b", 5: "c"}, 1, {"oat": 23}, {"oat": 10}, RECORDS)


def history() -> History:
    return History(
        [attrs.evolve(tap) for tap in TAPS], [Seen("wall", 1, [2, 3, 4, 5], copy={**RECORDS})]
    )


def test_a_history_in_order_has_no_fault() -> None:
    assert check(history(), TRUTH) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"commits": {2: "a", 3: "e", 4: "b"}}, "acknowledged, and not in the database: c"),
        ({"commits": {**TRUTH.commits, 6: "a"}}, "in the database more than once: a"),
        ({"commits": {**TRUTH.commits, 6: "d"}}, "refused, and in the database: d"),
        ({"commits": {**TRUTH.commits, 6: "z"}}, "commits that nobody asked for: 6"),
        ({"commits": {**TRUTH.commits, 6: None}}, "commits that nobody asked for: 6"),
        ({"counters": {"oat": 28}}, "counter oat is 28, not 10 + 3 (acknowledged) + 10"),
        ({"counters": {"oat": 18}}, "counter oat is 18"),
        ({"records": {**RECORDS, ("setting", ("tap c",)): 8}}, "tap c: 8 and not 7"),
        ({"records": {QUANTITY: {"quantity": 23}}}, "tap c: None and not 7"),
    ],
)
def test_each_fault_of_the_database_is_told(change: dict[str, object], fault: str) -> None:
    told = check(history(), attrs.evolve(TRUTH, **change))
    assert any(fault in sentence for sentence in told), told


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"revisions": [2, 4, 5]}, "wall was never shown commits: 3"),
        ({"revisions": [2, 3, 4]}, "wall was never shown commits: 5"),
        ({"revisions": [2, 4, 3, 5]}, "out of order: 3 after 4"),
        ({"revisions": [2, 3, 3, 4, 5]}, "out of order: 3 after 3"),
        ({"revisions": [2, 3, 4, 5, 6]}, "commits that are none: 6"),
        ({"resets": 1}, "told 1 times to begin again"),
        ({"copy": {QUANTITY: {"quantity": 23}}}, "other data than the database in: setting:tap c"),
        ({"copy": {**RECORDS, ("setting", ("x",)): 1}}, "in: setting:x"),
        ({"copy": {**RECORDS, QUANTITY: {"quantity": 5}}}, "in: station_quantity:1/milk/oat"),
    ],
)
def test_each_fault_of_the_feed_is_told(change: dict[str, object], fault: str) -> None:
    seen = history()
    seen.seen[0] = attrs.evolve(seen.seen[0], **change)
    told = check(seen, TRUTH)
    assert any(fault in sentence for sentence in told), told


def test_what_was_written_before_is_not_missed() -> None:
    """A follower that came later began with a copy."""
    late = attrs.evolve(history().seen[0], start=3, revisions=[4, 5])
    assert check(History(history().taps, [late]), TRUTH) == []
