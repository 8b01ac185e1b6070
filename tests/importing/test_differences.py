"""Where two values differ is said exactly: the place, both sides, the cause, whose value stands."""

from __future__ import annotations

import pytest

from expresso_persist.documents.merge import Difference, Side, by_id, is_empty, merge, merged_order


@pytest.mark.parametrize("prefer", ["incoming", "existing"])
def test_each_difference_has_its_place_and_both_sides(prefer: Side) -> None:
    old = {"a": {"n": 1, "full": [1]}, "list": [{"id": 1, "v": "x"}, {"id": 2, "v": "y"}]}
    new = {"a": {"n": 2, "full": []}, "list": [{"id": 2, "v": "z"}, {"id": 1, "v": "x"}]}
    united, differences = merge(old, new, prefer)
    assert differences == [
        Difference(("a", "n"), 1, 2, "different", prefer),
        Difference(("a", "full"), [1], [], "empty", "existing"),
        Difference(("list",), ["1", "2"], ["2", "1"], "text", prefer),
        Difference(("list", "2", "v"), "y", "z", "different", prefer),
    ]
    incoming = prefer == "incoming"
    first, second = {"id": 1, "v": "x"}, {"id": 2, "v": "z" if incoming else "y"}
    assert united == {
        "a": {"n": 2 if incoming else 1, "full": [1]},
        "list": [second, first] if incoming else [first, second],
    }


def test_the_incoming_side_is_preferred_unless_it_is_said() -> None:
    assert merge(1, 2) == (2, [Difference((), 1, 2, "different", "incoming")])
    assert merge([], {"a": 1}) == ({"a": 1}, []), "a stored empty value is filled"
    assert merge({"a": 1}, None, "existing") == (
        {"a": 1},
        [Difference((), {"a": 1}, None, "empty", "existing")],
    )


def test_items_are_named_by_a_text_or_a_whole_number() -> None:
    assert by_id([{"id": 1}, {"id": "a"}]) == {"1": {"id": 1}, "a": {"id": "a"}}
    assert by_id([]) == {}
    for other in ({"id": 1}, "x", None, [{"id": True}], [{"id": 1.5}], [{"id": None}], [{}], [1],
                  [{"id": 1}, {"id": "1"}]):  # fmt: skip
        assert by_id(other) is None, other  # type: ignore[arg-type]
    assert [is_empty(value) for value in (None, "", [], {}, [None], [{"a": [""]}])] == [True] * 6
    assert not any(is_empty(value) for value in (0, False, 0.0, " ", [0], {"a": [None, False]}))


@pytest.mark.parametrize(
    ("old", "new", "incoming", "existing", "agree"),
    [
        ("abc", "abc", "abc", "abc", True),
        ("abc", "acd", "abcd", "abcd", True),
        ("abc", "adc", "adcb", "abcd", True),
        ("abc", "cba", "cba", "abc", False),
        ("abc", "cax", "caxb", "abcx", False),
        ("", "ab", "ab", "ab", True),
        ("ab", "", "ab", "ab", True),
        ("ab", "cab", "cab", "abc", True),
    ],
)
def test_the_order_of_what_both_have(
    old: str, new: str, incoming: str, existing: str, agree: bool
) -> None:
    assert merged_order(old, new, "incoming") == ([*incoming], agree)
    assert merged_order(old, new, "existing") == ([*existing], agree)
