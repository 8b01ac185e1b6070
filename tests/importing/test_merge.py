"""The rule for uniting two JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist import Store
from expresso_persist.documents.merge import by_id, is_empty, merge
from expresso_persist.model import json_text

names = st.sampled_from(["id", "name", "a", "b", "c", ""])
scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"]) | st.just(0.5)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=4)
        | st.lists(
            st.fixed_dictionaries({"id": st.integers(1, 3)}, optional={"a": inner, "b": inner}),
            unique_by=lambda item: item["id"],
            max_size=3,
        )
    ),
    max_leaves=10,
)
sides = st.sampled_from(["incoming", "existing"])


@pytest.mark.parametrize(
    ("existing", "incoming", "united", "causes"),
    [
        (1, 1, 1, []),
        (1, 2, 2, ["different"]),
        (1, True, True, ["different"]),  # which Python calls equal
        (0, "", 0, ["empty"]),  # 0 and false say something
        (False, None, False, ["empty"]),
        ([1], [], [1], ["empty"]),
        ({"a": 1}, {}, {"a": 1}, ["empty"]),
        ("Anna", "", "Anna", ["empty"]),
        ([], [1], [1], []),
        (None, "x", "x", []),
        ("", None, None, ["different"]),
        ([1, 2], [2], [2], ["different"]),
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}, ["different"]),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, []),
        ({"a": {"b": 1}}, {"a": {"b": ""}}, {"a": {"b": 1}}, ["empty"]),
        (
            [{"id": 1, "n": "a"}, {"id": 2}],
            [{"id": 2, "n": "b"}, {"id": 3}],
            [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": 3}],
            [],
        ),
        ([{"id": 1}], [{"id": 1}, {"id": 1}], [{"id": 1}, {"id": 1}], ["different"]),
        ([{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 1}], [{"id": 2}, {"id": 1}], ["text"]),
        ({"a": 1, "b": 2}, {"a": 1, "x": 0, "b": 2}, {"a": 1, "x": 0, "b": 2}, []),
        ({"a": 1}, [1], [1], ["different"]),
    ],
)
def test_the_rule(existing: Any, incoming: Any, united: Any, causes: list[str]) -> None:
    value, differences = merge(existing, incoming)
    assert json_text.dumps(value) == json_text.dumps(united)
    assert [found.cause for found in differences] == causes
    kept = [found.resolution for found in differences if found.cause == "empty"]
    assert kept == ["existing"] * len(kept)


def test_the_existing_side_may_be_preferred() -> None:
    """Then its values and its order stand; what it lacks, or has empty, is still taken."""
    value, differences = merge(
        {"a": 1, "b": [1], "c": ""}, {"b": [2], "a": 1, "c": "x", "d": 4}, "existing"
    )
    assert json_text.dumps(value) == '{"a":1,"b":[1],"c":"x","d":4}'
    assert [(found.path, found.cause, found.resolution) for found in differences] == [
        ((), "text", "existing"),
        (("b",), "different", "existing"),
    ]


def test_a_difference_names_its_place() -> None:
    _, (found,) = merge({"staff": [{"id": 7, "n": "a"}]}, {"staff": [{"id": 7, "n": "b"}]})
    assert (found.path, found.existing, found.incoming) == (("staff", "7", "n"), "a", "b")


@pytest.mark.parametrize("items", [[], [1], [{"id": True}], [{"id": None}], [{"n": 1}], {"id": 1}])
def test_lists_without_ids_are_values(items: Any) -> None:
    assert not by_id(items)


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place that has something in it, by member and id."""
    if is_empty(value):
        return
    yield path
    members = value if isinstance(value, dict) else by_id(value) or {}
    for name, member in members.items():
        yield from places(member, (*path, name))


@given(existing=values, incoming=values, prefer=sides)
def test_twice_is_once_and_nothing_is_lost(existing: Any, incoming: Any, prefer: Any) -> None:
    """Each place of either side is in the union, unless a listed difference is above it."""
    united, differences = merge(existing, incoming, prefer)
    again, _ = merge(united, incoming, prefer)
    assert json_text.dumps(again) == json_text.dumps(united)
    there = {*places(united)}
    excused = [found.path for found in differences if found.cause == "different"]
    for path in {*places(existing), *places(incoming)} - there:
        assert any(path[: len(above)] == above for above in excused)
    if is_empty(incoming) and not is_empty(existing):
        assert united == existing


ARTEFACTS = ("undefined", "NaN", " ", "[object Object]", "null", '""')


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("event_inventory", "5"),
        *((k, t) for k in ("event_inventory", "event_menu") for t in ARTEFACTS),
    ],
)
def test_what_is_no_document_takes_the_place_of_none(store: Store, key: str, text: str) -> None:
    """JavaScript leaves such texts where there was nothing to store."""
    full = '{"milk":[{"id":"m1","name":"Oat"}]}'
    store.importer.import_({"localStorage": {key: full}}, actor="anna")
    for _ in range(2):
        receipt = store.importer.import_({"localStorage": {key: text}}, actor="bert")
        assert store.inventory.dump()["localStorage"][key] == full
        assert all(conflict.resolution == "existing" for conflict in receipt.conflicts)
