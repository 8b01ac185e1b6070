"""The feed gives every commit once, in order, and says when it cannot go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist import Store
from expresso_persist.errors import InvalidInput
from shorthand import PutQuantity


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_give_every_commit_once_and_in_order(
    store: Store, put: PutQuantity, limit: int
) -> None:
    for number in range(7):
        put("oat", number)
    cursor, seen = "0", []
    while True:
        page = store.inventory.changes(cursor, limit)
        assert not page.reset
        seen += [commit.revision for commit in page.commits]
        cursor = page.cursor
        if not page.has_more:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert store.inventory.changes(cursor).commits == ()
    put("oat", 99)
    assert [commit.revision for commit in store.inventory.changes(cursor).commits] == [8]


def test_a_cursor_of_another_future_or_another_copy_is_reset(
    store: Store, put: PutQuantity
) -> None:
    put("oat", 1)
    cursor = store.inventory.head().cursor
    epoch, revision, prefix = cursor.split(".")
    for strange in (
        f"{epoch}.2.{prefix}",
        f"other.{revision}.{prefix}",
        f"{epoch}.{revision}.{'f' * 12}",
        f"{epoch}.{revision}.{prefix[:11]}",  # would fit another commit too
    ):
        page = store.inventory.changes(strange)
        assert page.reset, strange
        assert page.cursor == cursor


def test_an_older_copy_of_the_file_resets_who_saw_more(sqlite_url: str, tmp_path: Path) -> None:
    """The copy goes on to other commits of the same numbers: the hashes tell."""
    from expresso_persist.model.records import Put, Setting

    file = tmp_path / "expresso.db"
    with Store(sqlite_url, migrate=True) as store:
        store.inventory.commit([Put(Setting.of("a", data=1))], actor="test")
        early = store.inventory.head().cursor
    shutil.copy(file, tmp_path / "copy.db")
    with Store(sqlite_url) as store:
        store.inventory.commit([Put(Setting.of("a", data=2))], actor="test")
        late = store.inventory.head().cursor
    shutil.copy(tmp_path / "copy.db", file)
    with Store(sqlite_url) as store:
        assert store.inventory.changes(late).reset
        assert not store.inventory.changes(early).reset
        store.inventory.commit([Put(Setting.of("a", data=3))], actor="test")
        assert store.inventory.changes(late).reset
        assert len(store.inventory.changes(early).commits) == 1


@pytest.mark.parametrize("alone", [1, "1", 2, "9" * 30, "00", "1.", "1.1"])
def test_a_revision_alone_is_no_cursor(store: Store, put: PutQuantity, alone: str | int) -> None:
    """In an older copy of the database the same number is another commit."""
    put("oat", 1)
    for ask in (store.inventory.changes, store.feed.start, store.feed.subscribe):
        with pytest.raises(InvalidInput, match="or 0 for everything") as refused:
            ask(alone)
        assert refused.value.problems[0].path == "since"
    with pytest.raises(InvalidInput, match="which copy of the database"):
        store.inventory.changes(1)
    assert len(store.inventory.changes(0).commits) == 1


@given(cursor=st.text(max_size=40))
def test_no_text_is_a_crash(cursor: str) -> None:
    with Store("sqlite://", migrate=True) as store:
        try:
            page = store.inventory.changes(cursor)
        except InvalidInput:
            return
        assert page.reset or page.commits == ()
