"""Two texts of one value are two documents: the browser has the very string."""

from __future__ import annotations

import pytest

from expresso_persist import Store
from expresso_persist.errors import ConflictRefused

STORED, GIVEN = '{"mocha":1}', '{ "mocha" : 1.0 }'


@pytest.fixture
def menu(store: Store) -> Store:
    store.importer.import_({"localStorage": {"event_menu": STORED}}, actor="test")
    return store


def given(store: Store, on_conflict: str) -> object:
    dump = {"localStorage": {"event_menu": GIVEN}}
    return store.importer.import_(dump, actor="test", on_conflict=on_conflict)  # type: ignore[arg-type]


def raw(store: Store) -> str:
    text: str = store.inventory.dump()["localStorage"]["event_menu"]
    return text


def test_texts_that_differ_alone_are_a_conflict(menu: Store) -> None:
    with pytest.raises(ConflictRefused, match="1 values differ"):
        given(menu, "fail")
    assert raw(menu) == STORED
    kept = given(menu, "existing")
    assert [c.document for c in kept.conflicts] == ["event_menu"]  # type: ignore[attr-defined]
    assert (kept.committed, raw(menu)) == (False, STORED)  # type: ignore[attr-defined]
    taken = given(menu, "incoming")
    assert [c.document for c in taken.conflicts] == ["event_menu"]  # type: ignore[attr-defined]
    assert (taken.committed, raw(menu)) == (True, GIVEN)  # type: ignore[attr-defined]
    assert menu.inventory.verify().ok


def test_the_same_text_is_none(store: Store) -> None:
    dump = {"localStorage": {"event_menu": GIVEN}}
    store.importer.import_(dump, actor="test")
    again = store.importer.import_(dump, actor="test", on_conflict="fail")
    assert (again.conflicts, again.committed) == ((), False)
    assert raw(store) == GIVEN
